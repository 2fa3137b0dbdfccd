import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatKekId, parseKekId } from '../src/kek-id.js';

const name = fc.record({
  label: fc.string({ minLength: 1, maxLength: 32 }).filter((label) => encodable(label)),
  id: fc.stringMatching(/^([0-9a-f]{2}){0,16}$/),
  fingerprint: fc.oneof(fc.constant('none'), fc.stringMatching(/^(kcv|cbc|spki):[0-9a-f]{6,16}$/)),
});

function encodable(label: string): boolean {
  try {
    encodeURIComponent(label);
    return true;
  } catch {
    return false;
  }
}

test('what was formatted parses to the same parts', () => {
  fc.assert(
    fc.property(name, (parts) => {
      expect(parseKekId(formatKekId(parts))).toEqual(parts);
    }),
  );
});

test('a KEK id holds no control character and no blank, whatever the label', () => {
  fc.assert(
    fc.property(name, (parts) => {
      expect(formatKekId(parts)).toMatch(/^[\x21-\x7e]+$/);
    }),
  );
});

test.each([
  '',
  'hsm',
  'hsm/kms/01',
  'hsm/kms/01/none/x',
  'hsm/kms/1/none',
  'hsm/kms/0G/none',
  'hsm/kms/01/kcv:',
  'hsm/kms/01/sha:00',
  'hsm/k ms/01/none',
  'hsm/%6bms/01/none',
  'hsm/%/01/none',
  'hsm//01/none/',
  'vault/kms/01/none',
  `hsm/${'x'.repeat(600)}/01/none`,
])('%j is no KEK id of this backend', (kekId) => {
  expect(parseKekId(kekId)).toBeUndefined();
});
