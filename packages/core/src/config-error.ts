/** The config is wrong. `path` says where, for instance `keys[0].config.auth.role`; the message starts with it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly path: string;

  /**
   * @param path - where in the config, `''` when the whole is meant
   * @param reason - what is wrong and what to do, without the offending value where it may be a secret
   */
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(path === '' ? reason : `${path}: ${reason}`, options);
    this.path = path;
  }
}

/** Whether `error` is a `ConfigError`, by its shape: a vendor's package may bring its own copy of core. */
export function isConfigError(error: unknown): error is ConfigError {
  return error instanceof Error && error.name === 'ConfigError' && 'path' in error && typeof error.path === 'string';
}
