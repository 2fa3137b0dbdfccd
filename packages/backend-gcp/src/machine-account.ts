import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { text } from 'node:stream/consumers';
// Not the library of its own name: see login.ts.
import { googleAuthLibrary } from 'google-gax';
import { z } from 'zod';
import { ForeignAnswer } from './errors.js';

const METADATA_SERVER = 'http://169.254.169.254';
const ANSWER_MS = 10_000;

const tokenAnswer = z.object({ access_token: z.string(), expires_in: z.number(), token_type: z.string() });

/**
 * A service account of this machine, of which the metadata server gives out tokens.
 *
 * The library asks that server over a transport of its own, which takes the proxy from the environment: no proxy can reach the address, and
 * one that answers all the same would get to see the token.
 */
export class MachineAccount extends googleAuthLibrary.Compute {
  /** In place of the library's; its callers keep the token. */
  protected override async refreshTokenNoCache(): Promise<{ tokens: googleAuthLibrary.Credentials; res: null }> {
    const url = new URL(`/computeMetadata/v1/instance/service-accounts/${this.serviceAccountEmail}/token`, address());
    url.searchParams.set('scopes', this.scopes.join(','));
    const { access_token, token_type, expires_in } = tokenAnswer.parse(JSON.parse(await get(url)));
    return { tokens: { access_token, token_type, expiry_date: Date.now() + expires_in * 1_000 }, res: null };
  }
}

/** As the library finds it, so that what stands in for the metadata server elsewhere is found, too. */
function address(): string {
  const { GCE_METADATA_IP: ip = '', GCE_METADATA_HOST: name = '' } = process.env;
  const host = [ip, name].find((text) => text !== '') ?? METADATA_SERVER;
  return /^https?:\/\//.test(host) ? host : `http://${host}`;
}

/** cloud.google.com/compute/docs/metadata/querying-metadata: the header is compulsory, and in each answer. */
async function get(url: URL): Promise<string> {
  const { request } = url.protocol === 'https:' ? https : http;
  // An agent of its own, which Node gives no proxy of the environment.
  const asking = request(url, {
    agent: false,
    headers: { 'metadata-flavor': 'Google' },
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  // What fails after the head fails the answer as well.
  asking.on('error', () => undefined).end();
  const [answer] = (await once(asking, 'response')) as [http.IncomingMessage];
  const body = await text(answer);
  const { statusCode: status = 0, headers } = answer;
  if (headers['metadata-flavor'] !== 'Google') throw new ForeignAnswer(status);
  if (status !== 200) throw Object.assign(new Error(`the metadata server answers ${status}`), { status });
  return body;
}
