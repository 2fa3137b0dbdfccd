import assert from 'node:assert/strict';
import { BACKEND_API_VERSION } from '../backend.js';
import type { Rule } from './rule.js';

const UNKNOWN_KEY = 'noSuchKeyOfAnyBackend';

/** The module and its config section. */
export const configRules: readonly Rule[] = [
  {
    name: 'config: the module names the version of the interface that this kit tests',
    run({ harness: { module } }) {
      assert.equal(module.apiVersion, BACKEND_API_VERSION);
      return Promise.resolve();
    },
  },
  {
    name: 'config: a wrong section is refused with issues, an unknown key too',
    async run({ harness: { module, config } }) {
      assert.ok(typeof config === 'object' && config !== null, "the harness's config must be an object");
      const schema = module.config['~standard'];
      for (const wrong of [undefined, null, 'text', 1, [], { ...config, [UNKNOWN_KEY]: 1 }]) {
        const { issues } = await schema.validate(wrong);
        assert.ok(issues !== undefined && issues.length > 0, `the schema accepts ${JSON.stringify(wrong)}`);
      }
    },
  },
];
