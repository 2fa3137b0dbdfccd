import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { troubles, type Access } from './access.js';
import { parse, readJson, respond } from './api.js';
import type { KeyStore } from './key-store.js';
import { Refusal } from './refusal.js';

const operation = z.object({ key: z.string().regex(/^[a-z0-9-]{1,63}$/) });

/**
 * What operators see, on loopback and without a login:
 *
 * - `POST /create`, `/rotate`, `/destroy-old-versions`, `/replace`, each with `{key}`
 * - `PUT /troubles {…}` sets what is wrong, all at once: `{}` is nothing
 */
export function answerOperators(keys: KeyStore, access: Access, { onTroubles }: { readonly onTroubles: () => void }) {
  const operations = new Map<string | undefined, (key: string) => void>([
    [
      '/create',
      (key) => {
        keys.create(key);
      },
    ],
    [
      '/rotate',
      (key) => {
        keys.rotate(key);
      },
    ],
    [
      '/destroy-old-versions',
      (key) => {
        keys.destroyOldVersions(key);
      },
    ],
    [
      '/replace',
      (key) => {
        keys.replace(key);
      },
    ],
  ]);
  return (request: IncomingMessage, response: ServerResponse): void => {
    void respond(response, async () => {
      const question = await readJson(request);
      if (request.method === 'PUT' && request.url === '/troubles') {
        access.troubles = parse(troubles, question);
        onTroubles();
        return {};
      }
      const operate = operations.get(request.url);
      if (operate === undefined || request.method !== 'POST') throw new Refusal(404, 'no-such-operation');
      operate(parse(operation, question).key);
      return {};
    });
  };
}
