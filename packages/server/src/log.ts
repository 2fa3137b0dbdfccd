import { destination, pino, stdSerializers, type Logger } from 'pino';

export type Log = Logger;

/**
 * JSON lines on stderr. Written synchronously: the last lines before a crash are the ones that matter.
 *
 * @param level - lines below are left out
 */
export function openLog(level: string): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      // With the provider's own error, which is never sent to the API server.
      serializers: { error: stdSerializers.errWithCause },
    },
    destination({ fd: 2, sync: true }),
  );
}
