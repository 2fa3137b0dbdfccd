import { z } from 'zod';

const LOOPBACK = /^(127(\.\d{1,3}){3}|\[::1\]|localhost)$/;
// What stands in a path must need no escaping there: neither by us nor by anything on the way.
const SEGMENT = /^[A-Za-z0-9_.-]+$/;

const absolutePath = z.string().startsWith('/', 'must be an absolute path');

const address = z
  .string()
  .refine(isOrigin, { error: 'must be https://HOST[:PORT], without path, user or query', abort: true })
  .transform((text) => new URL(text).origin);

const segment = z
  .string()
  .regex(SEGMENT, 'letters, digits, "_", "." and "-" only')
  .refine((text) => text !== '.' && text !== '..', 'must be a name');

const segments = z
  .string()
  .transform((text) => text.replace(/^\/+|\/+$/g, ''))
  .refine(
    (text) => text.split('/').every((part) => SEGMENT.test(part) && part !== '.' && part !== '..'),
    'names of letters, digits, "_", "." and "-", separated by "/"',
  );

const authNamespace = segments
  .optional()
  .describe('Namespace of the auth method, where it is another than `namespace`; `root` for the root namespace.');

const authMount = (name: string) => segments.default(name).describe('Where the auth method is mounted.');

const role = z.string().min(1).describe('The role of the auth method.');

const spiffe = z
  .strictObject({
    socket: absolutePath.describe('Unix socket of the Workload API, for instance of the SPIRE agent on this node.'),
    audience: z.string().min(1).describe('The audience of the JWT: one of `bound_audiences` of the role.'),
    spiffeId: z
      .string()
      .startsWith('spiffe://', 'must be a SPIFFE ID: spiffe://TRUST-DOMAIN/PATH')
      .optional()
      .describe('The identity to ask for, where Sealwax has several; the first that is offered when absent.'),
  })
  .describe('Where the JWT comes from, anew at each login, instead of a file: the SPIFFE Workload API.');

const auth = z
  .discriminatedUnion('method', [
    z.strictObject({
      method: z.literal('token'),
      namespace: authNamespace,
      tokenFile: absolutePath.describe('File with the token. Renewed where possible; a changed file counts at once.'),
    }),
    z.strictObject({
      method: z.literal('approle'),
      namespace: authNamespace,
      mount: authMount('approle'),
      roleId: z.string().min(1).describe('The role id; no secret.'),
      secretIdFile: absolutePath
        .optional()
        .describe('File with the secret id; absent only for roles with `bind_secret_id=false`.'),
    }),
    z.strictObject({
      method: z.literal('kubernetes'),
      namespace: authNamespace,
      mount: authMount('kubernetes'),
      role,
      tokenFile: absolutePath
        .default('/var/run/secrets/kubernetes.io/serviceaccount/token')
        .describe('File with the service account token, read anew at each login.'),
    }),
    z
      .strictObject({
        method: z.literal('jwt'),
        namespace: authNamespace,
        mount: authMount('jwt'),
        role,
        tokenFile: absolutePath
          .optional()
          .describe('File with the JWT, read anew at each login, so that one that is projected again counts.'),
        spiffe: spiffe.optional(),
      })
      .transform(({ tokenFile, spiffe, ...rest }, context) => {
        if (tokenFile !== undefined && spiffe === undefined) return { ...rest, jwtFrom: tokenFile };
        if (spiffe !== undefined && tokenFile === undefined) return { ...rest, jwtFrom: spiffe };
        context.addIssue({ code: 'custom', message: 'auth method jwt needs tokenFile or spiffe, and not both' });
        return z.NEVER;
      }),
    z.strictObject({
      method: z.literal('cert'),
      namespace: authNamespace,
      mount: authMount('cert'),
      name: z.string().min(1).optional().describe('The certificate role; any that matches when absent.'),
    }),
    z.strictObject({
      method: z.literal('userpass'),
      namespace: authNamespace,
      mount: authMount('userpass'),
      username: segment.describe('The user.'),
      passwordFile: absolutePath.describe('File with the password, read anew at each login.'),
    }),
  ])
  .describe('How Sealwax logs in.');

export const vaultConfig = z
  .strictObject({
    address: address.describe('Address of Vault or OpenBao, or of a load balancer before it: https://HOST[:PORT].'),
    otherAddresses: z
      .array(address)
      .max(7)
      .default([])
      .describe(
        'Further nodes of the same cluster. Asked in turn when one does not answer; a standby may redirect to them.',
      ),
    allowPlainHttp: z
      .boolean()
      .default(false)
      .describe(
        'Allows http:// for other hosts than loopback: everyone on the way reads the token and the local keys.',
      ),
    caFile: absolutePath.optional().describe("CA certificates (PEM) that are trusted instead of the system's."),
    serverName: z
      .string()
      .min(1)
      .optional()
      .describe("Name in the server's certificate, where `address` does not say it."),
    certFile: absolutePath.optional().describe('Client certificate (PEM, chain included).'),
    keyFile: absolutePath.optional().describe('Private key of the client certificate (PEM).'),
    namespace: segments.optional().describe('Namespace of the key.'),
    mount: segments.default('transit').describe('Where the transit engine is mounted.'),
    key: segment.describe('Name of the transit key. It must exist: Sealwax never makes one.'),
    kekId: z
      .enum(['version', 'version-and-creation-time'])
      .default('version')
      .describe(
        'Form of the KEK id. `version-and-creation-time` tells a key apart from one that was deleted and made again, and needs `read` on the key.',
      ),
    auth,
  })
  .superRefine((config, context) => {
    const fault = (path: PropertyKey[], message: string) => {
      context.addIssue({ code: 'custom', path, message });
    };
    const addresses = [
      [['address'], config.address] as const,
      ...config.otherAddresses.map((other, index) => [['otherAddresses', index], other] as const),
    ];
    for (const [path, text] of addresses) {
      const { protocol, hostname } = new URL(text);
      if (protocol === 'http:' && !config.allowPlainHttp && !LOOPBACK.test(hostname)) {
        fault([...path], 'must be https: only loopback may be plain http, unless allowPlainHttp is true');
      }
    }
    if ((config.certFile === undefined) !== (config.keyFile === undefined)) {
      fault([config.certFile === undefined ? 'certFile' : 'keyFile'], 'certFile and keyFile go together');
    }
    const chosen = config.auth;
    if (chosen.method === 'cert' && config.certFile === undefined) {
      fault(['certFile'], 'auth method cert needs certFile and keyFile');
    }
  });

export type VaultConfig = z.infer<typeof vaultConfig>;
export type AuthConfig = VaultConfig['auth'];
export type SpiffeConfig = z.infer<typeof spiffe>;

function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, search, hash, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && pathname === '/' && search + hash + username + password === '';
}
