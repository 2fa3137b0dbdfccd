import type { HttpAnswer } from '../loopback-server.js';

/** An answer of Key Vault that says no. */
export class VaultError extends Error {
  override readonly name = 'VaultError';
  readonly status: number;
  readonly code: string;
  readonly innerCode: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, innerCode?: string, headers: Readonly<Record<string, string>> = {}) {
    super(innerCode === undefined ? code : `${code}: ${innerCode}`);
    this.status = status;
    this.code = code;
    this.innerCode = innerCode;
    this.headers = headers;
  }

  /** learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses, "Error responses". */
  get answer(): HttpAnswer {
    const inner = this.innerCode === undefined ? {} : { innererror: { code: this.innerCode } };
    return {
      status: this.status,
      headers: this.headers,
      json: { error: { code: this.code, message: `${this.message} (double)`, ...inner } },
    };
  }
}
