import type { BackendModule } from '@sealwax/core';
import { beforeAll, describe, expect, test } from 'vitest';
import { BackendPage, headings } from './backend-page.js';

const CODES = [
  'unavailable',
  'throttled',
  'unauthenticated',
  'permission-denied',
  'key-not-found',
  'key-disabled',
  'invalid-ciphertext',
  'internal',
];

/**
 * Registers the tests that hold a backend's page against its code.
 *
 * @param name - of `docs/backends/<name>.md`
 */
export function describeBackendPage(name: string, backend: Pick<BackendModule<unknown>, 'config'>): void {
  describe(`docs/backends/${name}.md`, () => {
    let page: BackendPage;
    beforeAll(async () => {
      page = await BackendPage.read(name);
    });

    test('the page has the headings of every backend’s page', () => {
      expect(page.headings).toEqual(headings);
    });

    test('its examples are good configs', async () => {
      expect(page.configs.length).toBeGreaterThan(0);
      for (const config of page.configs) {
        expect((await backend.config['~standard'].validate(config)).issues).toBeUndefined();
      }
    });

    test('its table names the keys of the config, each and no other', () => {
      const { '~standard': standard } = backend.config;
      if (!('jsonSchema' in standard)) throw new Error('the config has no JSON Schema');
      const { input } = standard.jsonSchema as { input: (options: { target: string }) => { properties: object } };
      const known = Object.keys(input({ target: 'draft-2020-12' }).properties);
      expect([...page.column('Config', 0)].sort()).toEqual(known.sort());
    });

    test('its table of errors names every code', () => {
      expect(new Set(page.column('Errors', 1))).toEqual(new Set(CODES));
    });
  });
}
