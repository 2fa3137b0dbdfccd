/** The process that loads the PKCS #11 module. It may hang, abort or leak: the server ends it and starts another. */
import { Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { CALLS_FD } from '../file-descriptors.js';
import type { Call, FromChild, TokenSettings } from '../protocol.js';
import { adviceFor } from './advice.js';
import { CallFailure, toCallFailure } from './call-failure.js';
import { Kek } from './kek.js';
import { listTokens } from './list-tokens.js';
import { LoadedModule } from './loaded-module.js';
import { offered, proposals } from './offers.js';
import { schemeFor } from './scheme.js';
import { ServerPipe } from './server-pipe.js';
import { Token } from './token.js';
import { findCurrent } from './versions.js';

interface Answer {
  readonly value: Extract<FromChild, { value: unknown }>['value'];
  readonly bytes?: Uint8Array;
}

let token: Token | undefined;
let kek: Kek | undefined;

new Worker(new URL('./lifeline.js', import.meta.url));
const server = new ServerPipe(new Socket({ fd: CALLS_FD, readable: true, writable: true }), (call, bytes) => {
  void serve(call, bytes);
});

async function serve(call: Call & { readonly id: number }, bytes: Uint8Array): Promise<void> {
  const { id } = call;
  try {
    const answer = await answerTo(call, bytes);
    server.send({ id, value: answer.value, rssBytes: process.memoryUsage.rss() }, answer.bytes);
    answer.bytes?.fill(0);
  } catch (error) {
    server.send({ id, failure: toCallFailure(error).failure, rssBytes: process.memoryUsage.rss() });
  } finally {
    bytes.fill(0);
  }
}

async function answerTo(call: Call, bytes: Uint8Array): Promise<Answer> {
  switch (call.call) {
    case 'open':
      return { value: await open(call.settings) };
    case 'currentKekId':
      return { value: await opened().currentKekId() };
    case 'wrap': {
      const { kekId, wrapped } = await opened().wrap(bytes);
      return { value: kekId, bytes: wrapped };
    }
    case 'unwrap':
      return { value: null, bytes: await opened().unwrap(call.kekId, bytes) };
    case 'list': {
      const module = LoadedModule.load(call.module);
      return { value: { tokens: await listTokens(module, { login: call.login, pins: server }) } };
    }
    case 'close':
      token?.close();
      return { value: null };
  }
}

/** Connects, proves the mechanism and gives advice; returns the current KEK id. */
async function open(settings: TokenSettings): Promise<string> {
  const connected = new Token(LoadedModule.load(settings.module), settings, server);
  token = connected;
  await connected.connect();
  const { mechanism } = settings;
  if (mechanism === undefined || !offered(connected.cryptoki, connected.slot).includes(mechanism)) {
    const why = mechanism === undefined ? 'required' : `the token does not offer ${mechanism}`;
    const list = await connected.use((session) =>
      proposals(connected.cryptoki, { session, slot: connected.slot }, settings),
    );
    throw new CallFailure('config', `${why}; ${list}`, { path: 'mechanism' });
  }
  const chosen = { ...settings, mechanism };
  kek = new Kek(connected, schemeFor(mechanism, settings.hash), chosen);
  const kekId = await kek.open();
  const advice = await connected.use(async (session) => {
    const version = await findCurrent({ cryptoki: connected.cryptoki, session }, chosen);
    return adviceFor(connected.cryptoki, session, { settings, version });
  });
  for (const text of advice) server.send({ told: 'advice', text });
  return kekId;
}

function opened(): Kek {
  if (kek === undefined) throw new CallFailure('unavailable', 'the token was not opened');
  return kek;
}
