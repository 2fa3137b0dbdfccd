import { z } from 'zod';

/** A DNS label: it becomes part of the key id and of metric labels. */
const keyName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be 1 to 63 of a-z, 0-9 and "-", not at the ends');

const absolutePath = z.string().startsWith('/', 'must be an absolute path');
const positive = z.number().positive();
const count = z.int().min(1);

const socket = z.strictObject({
  path: absolutePath
    .refine((path) => Buffer.byteLength(path) <= 100, 'must have at most 100 bytes: the system’s limit for sockets')
    .default('/run/sealwax/kms.sock')
    .describe('The unix socket that kube-apiserver connects to.'),
  mode: z
    .string()
    .regex(/^0[0-7]{3}$/, 'must be four octal digits in quotes, for instance "0600"')
    .refine((mode) => (parseInt(mode, 8) & 0o007) === 0, 'must not let in every user: whoever connects can decrypt')
    .default('0600')
    .describe('Permissions of the socket. "0660" with a group lets in a kube-apiserver that does not run as root.'),
  group: z
    .union([z.string().min(1), z.int().min(0)])
    .optional()
    .describe('Group of the socket, by name or id.'),
});

const http = z.strictObject({
  address: z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:[\]]+):\d{1,5}$/, 'must be ADDRESS:PORT, for instance 127.0.0.1:9412')
    .refine((address) => Number(address.slice(address.lastIndexOf(':') + 1)) <= 65_535, 'must have a port below 65536')
    .default('127.0.0.1:9412')
    .describe('Where /livez, /readyz and /metrics are served.'),
});

const log = z.strictObject({
  level: z
    .enum(['debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Lines below this level are left out. Good RPCs are logged at debug.'),
});

const probe = z.strictObject({
  intervalSeconds: positive
    .max(3600)
    .default(60)
    .describe('How often each key is asked for its KEK version and to unwrap: two calls of the KMS each time.'),
});

const publish = z.strictObject({
  quietSeconds: positive.default(5).describe('A new key id waits until no Status was answered for this long …'),
  latestSeconds: positive.default(60).describe('… and no longer than this.'),
});

const limits = z.strictObject({
  remoteCallSeconds: positive.max(300).default(10).describe('Timeout of every call of a KMS.'),
  unwrapConcurrency: count.default(16).describe('Unwraps at the same time, for each key.'),
  waitingDecrypts: count
    .default(1000)
    .describe('Decrypts that may wait for a KMS; more are answered RESOURCE_EXHAUSTED.'),
  heldLocalKeys: count.default(100_000).describe('Local keys kept in memory, about 500 bytes each.'),
});

const key = z.strictObject({
  name: keyName.describe('Stored with the data. Never reuse a name for another key.'),
  backend: z.string().min(1).describe('The backend that speaks to this key’s KMS.'),
  role: z.literal('write').default('write').describe('This key wraps each new local key.'),
  config: z.unknown().describe('The backend’s own section.'),
});

/** The config file. Everything but the backends' own sections, which their packages check. */
export const configSchema = z.strictObject({
  version: z.literal(1),
  cluster: z
    .string()
    .regex(
      /^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/,
      'must be 1 to 128 of A-Z, a-z, 0-9, ".", "_" and "-", letters or digits at the ends',
    )
    .describe('Bound into every envelope. Never change it: what was encrypted before would not open.'),
  generation: z
    .int()
    .min(1)
    .default(1)
    .describe('Raise it on all nodes to force a new key id, and with it a rewrite of all data.'),
  socket: socket.prefault({}),
  http: http.prefault({}),
  log: log.prefault({}),
  probe: probe.prefault({}),
  publish: publish.prefault({}),
  limits: limits.prefault({}),
  keys: z.array(key).length(1, 'must name exactly one key'),
});

export type Config = z.infer<typeof configSchema>;
export type KeyConfig = Config['keys'][number];
