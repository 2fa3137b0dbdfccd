import type { ListedKey, ListedToken, TokenSettings } from '../protocol.js';
import { CKA, CKF, type Cryptoki, type Handle } from './cryptoki.js';
import { attribute, findKeys } from './key-search.js';
import type { LoadedModule, SlotToken } from './loaded-module.js';
import { offered, served } from './offers.js';
import type { PinSource } from './pin-source.js';
import { Token } from './token.js';

/**
 * Every token, its mechanisms, and its keys.
 *
 * @param login - label of the token to log in to; `undefined` for none. A PIN is tried at the token it belongs to and at no other.
 */
export async function listTokens(
  module: LoadedModule,
  { login, pins }: { readonly login: string | undefined; readonly pins: PinSource },
): Promise<ListedToken[]> {
  const listed: ListedToken[] = [];
  for (const present of module.tokens()) {
    const { label, serialNumber: serial, model, flags } = present.info;
    const loggedIn = login === label || (flags & CKF.loginRequired) === 0;
    const token = new Token(module, settingsFor(present, { login: login === label }), pins);
    const mechanisms = offered(module.cryptoki, present.slot);
    const keys = loggedIn
      ? await token
          .connect()
          .then(() =>
            token.use((session) => [
              ...listKeys(module.cryptoki, session, { kind: 'aes', mechanisms }),
              ...listKeys(module.cryptoki, session, { kind: 'rsa', mechanisms }),
            ]),
          )
      : [];
    listed.push({ label, serial, model, mechanisms, loggedIn, keys });
  }
  return listed;
}

function listKeys(
  cryptoki: Cryptoki,
  session: Handle,
  { kind, mechanisms }: { kind: 'aes' | 'rsa'; mechanisms: ReturnType<typeof offered> },
): ListedKey[] {
  return findKeys(cryptoki, session, { kind, label: undefined, id: undefined }).map((key) => ({
    type: kind,
    label: key.label,
    id: key.id,
    extractable: attribute(cryptoki, session, { handle: key.handle, type: CKA.extractable })?.[0] === 1,
    serves: served(cryptoki, session, { key, kind, offers: mechanisms }),
  }));
}

function settingsFor({ info }: SlotToken, { login }: { login: boolean }): TokenSettings {
  return {
    module: { path: '', parameters: undefined },
    token: { label: info.label, serial: info.serialNumber },
    key: { label: undefined, id: undefined },
    macKeyLabel: undefined,
    mechanism: undefined,
    hash: 'sha256',
    current: 'newest',
    fingerprint: 'none',
    rereadModule: false,
    sessions: 1,
    login,
  };
}
