interface Answered {
  readonly status: number;
  /** What stands in `errors` of the answer's body. */
  readonly errors: readonly string[];
  /** From the header Retry-After. */
  readonly retryAfterMs?: number | undefined;
}

/** Vault did not do what it was asked: it said so, or said nothing. Holds nothing of the request. */
export class VaultFailure extends Error {
  override readonly name = 'VaultFailure';
  /** `undefined` when Vault gave no answer, or something on the way did in its place; `message` then says why. */
  readonly answer: Answered | undefined;

  private constructor(message: string, answer: Answered | undefined, options: ErrorOptions = {}) {
    super(message, options);
    this.answer = answer;
  }

  static noAnswer(reason: string, cause?: unknown): VaultFailure {
    return new VaultFailure(reason, undefined, { cause });
  }

  static answered(answer: Answered): VaultFailure {
    const [first = 'no reason given'] = answer.errors;
    return new VaultFailure(`${answer.status} ${readable(first)}`, answer);
  }

  /** Whether another node of the cluster may do better. */
  get isOfTheNode(): boolean {
    return this.answer === undefined || this.answer.status >= 500;
  }

  get isForbidden(): boolean {
    return this.answer?.status === 403;
  }

  /**
   * Whether a 403 says that the token is missing, wrong, expired, revoked or used up.
   *
   * A token that lives and lacks a right gets the same words in a list of one: `1 error occurred:\n\t* permission denied`.
   */
  get isDeadToken(): boolean {
    return this.isForbidden && this.says(/^permission denied$|invalid token/);
  }

  says(pattern: RegExp): boolean {
    return this.answer?.errors.some((text) => pattern.test(text)) ?? false;
  }
}

/** Vault's text in one line of bounded length; lists of one error lose their heading. */
function readable(text: string): string {
  return text
    .replace(/^\d+ errors? occurred:\s*\*?\s*/, '')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim()
    .slice(0, 300);
}
