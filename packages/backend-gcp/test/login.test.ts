import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { failureOf } from '@sealwax/core/conformance';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { gcpConfig } from '../src/config.js';
import { Login } from '../src/login.js';
import { httpServer, KEY, metadataServer, token } from './gcp-double.js';
import { temporaryDirectory, testHost } from './open-gcp.js';

const PAGE = '<html><body>blocked</body></html>';

beforeEach(() => {
  vi.stubEnv('GCE_METADATA_IP', undefined);
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function logIn(auth: Readonly<Record<string, unknown>>): Promise<string> {
  return (await Login.create(gcpConfig.parse({ key: KEY, auth }), testHost())).authorization();
}

/** The file of a federation whose tokens are exchanged at `tokenServer`. */
async function federation(tokenServer: string): Promise<Readonly<Record<string, unknown>>> {
  const directory = await temporaryDirectory();
  const subjectToken = path.join(directory, 'subject-token');
  await writeFile(subjectToken, 'a token', { mode: 0o600 });
  const file = path.join(directory, 'federation.json');
  const content = {
    type: 'external_account',
    audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/kubernetes',
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: `http://${tokenServer}/v1/token`,
    credential_source: { file: subjectToken },
  };
  await writeFile(file, JSON.stringify(content), { mode: 0o600 });
  return { method: 'credential-file', file };
}

describe('the metadata server', () => {
  test.each([
    [{ method: 'metadata-server' }, 'default'],
    [{ method: 'metadata-server', serviceAccount: 'kms@p.iam.gserviceaccount.com' }, 'kms@p.iam.gserviceaccount.com'],
    [{ method: 'application-default' }, 'default'],
  ])('is never asked through a proxy: %j', async (auth, account) => {
    const asked: string[] = [];
    await metadataServer((request, response) => {
      asked.push(request.url ?? '');
      token(request, response);
    });
    const seen: string[] = [];
    const proxy = await httpServer(({ url = '' }, response) => {
      seen.push(url);
      response.writeHead(403).end();
    });
    for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY']) {
      vi.stubEnv(name, `http://${proxy}`);
      vi.stubEnv(name.toLowerCase(), `http://${proxy}`);
    }
    expect(await logIn(auth)).toBe('Bearer ya29.token');
    expect(seen).toEqual([]);
    const scope = encodeURIComponent('https://www.googleapis.com/auth/cloudkms');
    expect(asked).toEqual([`/computeMetadata/v1/instance/service-accounts/${account}/token?scopes=${scope}`]);
  });

  test('is where GCE_METADATA_IP says, with a scheme or without, before GCE_METADATA_HOST', async () => {
    const server = await httpServer(token);
    vi.stubEnv('GCE_METADATA_HOST', '127.0.0.1:1');
    for (const address of [server, `http://${server}`]) {
      vi.stubEnv('GCE_METADATA_IP', address);
      expect(await logIn({ method: 'metadata-server' })).toBe('Bearer ya29.token');
    }
  });

  test('is away where nobody listens', async () => {
    vi.stubEnv('GCE_METADATA_HOST', '127.0.0.1:1');
    expect(await failureOf(logIn({ method: 'metadata-server' }))).toMatchObject({
      code: 'unavailable',
      message: 'gcp: log in: the token service cannot be reached (ECONNREFUSED)',
    });
  });

  test.each([
    [404, 'unauthenticated'],
    [429, 'throttled'],
    [503, 'unavailable'],
  ])('that answers %i itself makes the login %s, also in HTML', async (status, code) => {
    await metadataServer((_request, response) => {
      response.writeHead(status, { 'metadata-flavor': 'Google', 'content-type': 'text/html' }).end(PAGE);
    });
    expect((await failureOf(logIn({ method: 'metadata-server' }))).code).toBe(code);
  });

  test('is only what says so in its answer: the token of anything else is not taken', async () => {
    await metadataServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ access_token: 'ya29.foreign', expires_in: 3_600, token_type: 'Bearer' }));
    });
    expect((await failureOf(logIn({ method: 'metadata-server' }))).code).toBe('unavailable');
  });
});

describe.each(['metadata server', 'federation'] as const)('%s', (way) => {
  test.each([400, 403, 404])(
    'a page of a gateway with status %i is no rejected login, but an outage',
    async (status) => {
      const server = await httpServer((_request, response) => {
        response.writeHead(status, { 'content-type': 'text/html' }).end(PAGE);
      });
      vi.stubEnv('GCE_METADATA_HOST', server);
      const auth = way === 'federation' ? await federation(server) : { method: 'metadata-server' };
      expect(await failureOf(logIn(auth))).toMatchObject({
        code: 'unavailable',
        message: `gcp: log in: something on the way answers ${status} in place of the token service`,
      });
    },
  );
});

test('what the service itself says of a login is a rejected one', async () => {
  const server = await httpServer((_request, response) => {
    response.writeHead(400, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: 'invalid_grant', error_description: 'The token is expired.' }));
  });
  expect(await failureOf(logIn(await federation(server)))).toMatchObject({
    code: 'unauthenticated',
    message: 'gcp: log in: rejected with status 400',
  });
});
