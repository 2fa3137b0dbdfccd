import { destination, pino, type Logger } from 'pino';

export type Log = Logger;

/** How much is kept of what cannot be written yet. */
const MAX_PENDING_BYTES = 64 * 1024;

/**
 * JSON lines on stderr. Written synchronously: the last lines before a crash are the ones that matter.
 *
 * @param level - lines below are left out
 */
export function openLog(level: string): Log {
  // `minLength` 1 changes nothing but that `flush` writes.
  const stderr = destination({ fd: 2, sync: true, minLength: 1, maxLength: MAX_PENDING_BYTES });
  // Else each line would throw while the disk is full. What could not be written comes before the next line.
  stderr.on('error', () => undefined);
  // A line is dropped without an attempt to write what is kept: no other would ever get through.
  stderr.on('drop', () => {
    stderr.flush();
  });
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      // With the provider's own error, which is never sent to the API server.
      serializers: { error: (error: unknown) => describeError(error) },
    },
    stderr,
  );
}

/** How deep a chain of causes is followed; a provider's own may be long, or a circle. */
const MAX_DEPTH = 8;

/** What a log line says of an error. */
export interface ErrorFields {
  readonly type: string;
  readonly message: string;
  readonly code?: string | number;
  readonly stack?: string;
  readonly cause?: ErrorFields | string;
}

/**
 * An error and its causes, without what else providers' clients hang on them: requests, that is, with their headers and bodies.
 *
 * @param depth - how many causes were followed already
 */
export function describeError(error: unknown, depth = 0): ErrorFields | string {
  if (!(error instanceof Error)) return String(error);
  const { name, message, stack, cause } = error;
  const code = 'code' in error ? error.code : undefined;
  return {
    type: name,
    message,
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    ...(stack !== undefined && { stack }),
    ...(cause !== undefined && depth < MAX_DEPTH && { cause: describeError(cause, depth + 1) }),
  };
}
