/** Why a request is refused: the status, and the name that clients branch on. */
export class Refusal extends Error {
  readonly status: number;
  readonly error: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, error: string, options: { readonly retryAfterSeconds?: number } = {}) {
    super(error);
    this.status = status;
    this.error = error;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}
