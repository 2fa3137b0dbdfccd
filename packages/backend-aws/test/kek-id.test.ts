import { expect, test } from 'vitest';
import { formatKekId, parseKekId } from '../src/kek-id.js';
import { areNeighbours, parseKeyArn } from '../src/key-arn.js';
import { KEY_ARN, MATERIAL } from './kms-double.js';

test('both forms are read back', () => {
  expect(parseKekId(formatKekId(KEY_ARN, MATERIAL))).toMatchObject({ key: { arn: KEY_ARN }, materialId: MATERIAL });
  expect(parseKekId(formatKekId(KEY_ARN, undefined))).toMatchObject({ key: { arn: KEY_ARN }, materialId: undefined });
});

test.each([
  '',
  `${KEY_ARN}#`,
  `${KEY_ARN}#${MATERIAL}#`,
  `${KEY_ARN}#${MATERIAL.slice(1)}`,
  `${KEY_ARN}#${MATERIAL.toUpperCase()}`,
  `${KEY_ARN}\n`,
  ` ${KEY_ARN}`,
  `${KEY_ARN}/x`,
  KEY_ARN.replace('key/', 'alias/'),
  KEY_ARN.replace(':kms:', ':s3:'),
  KEY_ARN.replace('111122223333', '11112222333'),
  KEY_ARN.replace('eu-central-1', 'eu-central-1.example.com'),
])('%j is no KEK id', (kekId) => {
  expect(parseKekId(kekId)).toBeUndefined();
});

test('keys are neighbours in one partition, region and account', () => {
  const key = parseKeyArn(KEY_ARN)!;
  expect(areNeighbours(key, parseKeyArn(KEY_ARN.replace('key/1', 'key/2'))!)).toBe(true);
  for (const other of [
    KEY_ARN.replace('aws', 'aws-cn'),
    KEY_ARN.replace('central', 'west'),
    KEY_ARN.replace('1111', '9999'),
  ])
    expect(areNeighbours(key, parseKeyArn(other)!), other).toBe(false);
});
