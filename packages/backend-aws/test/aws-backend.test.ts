import { failureOf } from '@sealwax/core/conformance';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { good, KEY_ARN, KmsDouble, MATERIAL, metadata, OTHER_MATERIAL, type Asked } from './kms-double.js';
import { LOCAL_KEY, openAws, signal } from './open-aws.js';

const ALIAS = 'arn:aws:kms:eu-central-1:111122223333:alias/sealwax';
const FIXED = { sealwax: 'local-key' };
const operations = ({ asked }: KmsDouble) => asked.map(({ operation }) => operation);
const requestOf = ({ body }: Asked) => JSON.parse(body) as Readonly<Record<string, unknown>>;

describe('shape only: wrap', () => {
  test('reads the material, binds it, and decrypts what it wrote by the ARN of the key', async () => {
    const double = await KmsDouble.start();
    const { aws } = await openAws(double.url, { key: ALIAS, encryptionContext: { cluster: 'prod-1' } });
    const { kekId } = await aws.wrap(LOCAL_KEY, signal);
    expect(kekId).toBe(`${KEY_ARN}#${MATERIAL}`);
    expect(operations(double)).toEqual(['DescribeKey', 'Encrypt', 'Decrypt']);
    const [described, encrypted, decrypted] = double.asked.map(requestOf);
    const EncryptionContext = { cluster: 'prod-1', ...FIXED, 'sealwax-material': MATERIAL };
    expect(described).toEqual({ KeyId: ALIAS });
    expect(encrypted).toMatchObject({ KeyId: KEY_ARN, EncryptionContext });
    expect(decrypted).toMatchObject({ KeyId: KEY_ARN, EncryptionContext });
  });

  test('begins again with the material that was used when it rotates under it', async () => {
    const double = await KmsDouble.start((asked) => {
      if (asked.operation !== 'Decrypt') return good(asked);
      return { json: { KeyId: KEY_ARN, Plaintext: 'AAAA', KeyMaterialId: OTHER_MATERIAL } };
    });
    const { aws } = await openAws(double.url);
    expect((await aws.wrap(LOCAL_KEY, signal)).kekId).toBe(`${KEY_ARN}#${OTHER_MATERIAL}`);
    expect(operations(double)).toEqual(['DescribeKey', 'Encrypt', 'Decrypt', 'Encrypt', 'Decrypt']);
  });

  test('asks again for the current material where the answer names none', async () => {
    let current = MATERIAL;
    const double = await KmsDouble.start((asked) => {
      if (asked.operation === 'DescribeKey')
        return { json: { KeyMetadata: metadata({ CurrentKeyMaterialId: current }) } };
      // Rotated after the first reading.
      current = OTHER_MATERIAL;
      return asked.operation === 'Encrypt' ? good(asked) : { json: { KeyId: KEY_ARN, Plaintext: 'AAAA' } };
    });
    const { aws } = await openAws(double.url);
    expect((await aws.wrap(LOCAL_KEY, signal)).kekId).toBe(`${KEY_ARN}#${OTHER_MATERIAL}`);
  });

  test('gives up, as unavailable, on a material that changes each time', async () => {
    let count = 0;
    const double = await KmsDouble.start((asked) => {
      count += 1;
      if (asked.operation !== 'Decrypt') return good(asked);
      return { json: { KeyId: KEY_ARN, Plaintext: 'AAAA', KeyMaterialId: String(count).padStart(64, '0') } };
    });
    const { aws } = await openAws(double.url);
    expect((await failureOf(aws.wrap(LOCAL_KEY, signal))).code).toBe('unavailable');
  });

  test('takes no key from an answer that is of another account, region or partition', async () => {
    for (const Arn of [KEY_ARN.replace('1111', '9999'), KEY_ARN.replace('central', 'west'), ALIAS, undefined]) {
      const double = await KmsDouble.start(() => ({ json: { KeyMetadata: metadata({ Arn }) } }));
      const { aws } = await openAws(double.url);
      expect((await failureOf(aws.wrap(LOCAL_KEY, signal))).code).toBe('internal');
    }
  });
});

describe('shape only: the form of the KEK id', () => {
  test('arn needs no DescribeKey and tells the key behind an alias', async () => {
    const double = await KmsDouble.start((asked) =>
      asked.operation === 'DescribeKey' ? { exception: 'AccessDeniedException' } : good(asked),
    );
    const { aws } = await openAws(double.url, { key: ALIAS, kekId: 'arn' });
    // Once, when it is opened, for the advice.
    await expect.poll(() => operations(double)).toEqual(['DescribeKey']);
    double.asked.length = 0;
    expect(await aws.currentKekId(signal)).toBe(KEY_ARN);
    const wrapped = await aws.wrap(LOCAL_KEY, signal);
    expect(wrapped.kekId).toBe(KEY_ARN);
    expect(Buffer.from(await aws.unwrap(wrapped, signal)).equals(LOCAL_KEY)).toBe(true);
    expect(new Set(operations(double))).toEqual(new Set(['Encrypt', 'Decrypt']));
    for (const asked of double.asked) expect(requestOf(asked)).toMatchObject({ EncryptionContext: FIXED });
  });

  test('arn-and-material never falls back to less: a refused DescribeKey is a refusal', async () => {
    const double = await KmsDouble.start((asked) =>
      asked.operation === 'DescribeKey' ? { exception: 'AccessDeniedException' } : good(asked),
    );
    const { aws } = await openAws(double.url);
    for (const call of [aws.currentKekId(signal), aws.wrap(LOCAL_KEY, signal)]) {
      const { code, message } = await failureOf(call);
      expect(code).toBe('permission-denied');
      expect(message).toContain('kekId: arn');
    }
    // The right to unwrap is another one.
    await aws.unwrap({ kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY }, signal);
  });

  test('a key without material is told to take arn, and an asymmetric one is refused', async () => {
    const without = metadata({ CurrentKeyMaterialId: undefined });
    const storeKey = await KmsDouble.start(() => ({ json: { KeyMetadata: without } }));
    expect((await failureOf((await openAws(storeKey.url)).aws.currentKekId(signal))).message).toContain(
      'set kekId: arn',
    );
    const rsa = await KmsDouble.start(() => ({ json: { KeyMetadata: metadata({ KeySpec: 'RSA_2048' }) } }));
    expect((await failureOf((await openAws(rsa.url)).aws.currentKekId(signal))).message).toContain('RSA_2048');
  });

  test('each form unwraps what the other wrapped', async () => {
    const double = await KmsDouble.start();
    for (const form of ['arn', 'arn-and-material']) {
      const { aws } = await openAws(double.url, { kekId: form });
      await aws.unwrap({ kekId: KEY_ARN, ciphertext: LOCAL_KEY }, signal);
      await aws.unwrap({ kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY }, signal);
      const contexts = double.asked
        .splice(0)
        .filter(({ operation }) => operation === 'Decrypt')
        .map(requestOf);
      expect(contexts).toMatchObject([
        { EncryptionContext: FIXED },
        { EncryptionContext: { ...FIXED, 'sealwax-material': MATERIAL } },
      ]);
    }
  });

  test('advises arn-and-material where arn loses something', async () => {
    const double = await KmsDouble.start();
    const { facts } = await openAws(double.url, { kekId: 'arn' });
    await expect.poll(() => inspect(facts)).toMatch(/advice.*arn-and-material/s);
    const without = metadata({ CurrentKeyMaterialId: undefined });
    const storeKey = await KmsDouble.start((asked) =>
      asked.operation === 'DescribeKey' ? { json: { KeyMetadata: without } } : good(asked),
    );
    const fits = await openAws(storeKey.url, { kekId: 'arn' });
    await fits.aws.wrap(LOCAL_KEY, signal);
    expect(inspect(fits.facts)).not.toContain('advice');
  });
});

describe('shape only: unwrap', () => {
  test('names the key of the KEK id', async () => {
    const double = await KmsDouble.start();
    const { aws } = await openAws(double.url, { key: ALIAS });
    await aws.unwrap({ kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY }, signal);
    expect(double.asked.map(requestOf)).toMatchObject([{ KeyId: KEY_ARN }]);
  });

  test('asks for nothing in another partition, region or account', async () => {
    const double = await KmsDouble.start();
    const { aws } = await openAws(double.url);
    for (const kekId of [
      KEY_ARN.replace('arn:aws:', 'arn:aws-cn:'),
      KEY_ARN.replace('central', 'west'),
      KEY_ARN.replace('1111', '9999'),
      ALIAS,
      'local/0123',
    ])
      expect((await failureOf(aws.unwrap({ kekId, ciphertext: LOCAL_KEY }, signal))).code).toBe('invalid-ciphertext');
    expect(double.asked).toEqual([]);
  });

  test('refuses an answer of other material or of another key', async () => {
    const double = await KmsDouble.start(() => ({
      json: { KeyId: KEY_ARN, Plaintext: 'AAAA', KeyMaterialId: OTHER_MATERIAL },
    }));
    const { aws } = await openAws(double.url);
    const wrapped = { kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY };
    expect((await failureOf(aws.unwrap(wrapped, signal))).code).toBe('invalid-ciphertext');
    double.answerWith(() => ({ json: { KeyId: KEY_ARN.replace('key/1', 'key/2'), Plaintext: 'AAAA' } }));
    expect((await failureOf(aws.unwrap(wrapped, signal))).code).toBe('internal');
  });
});

describe('the client', () => {
  test('repeats a call once, and only where a connection ended without an answer', async () => {
    const double = await KmsDouble.start((asked, count) => (count === 1 ? 'reset' : good(asked)));
    const { aws } = await openAws(double.url);
    await aws.unwrap({ kekId: `${KEY_ARN}#${MATERIAL}`, ciphertext: LOCAL_KEY }, signal);
    expect(double.asked).toHaveLength(2);
    double.answerWith(() => 'reset');
    expect((await failureOf(aws.unwrap({ kekId: KEY_ARN, ciphertext: LOCAL_KEY }, signal))).code).toBe('unavailable');
    expect(double.asked).toHaveLength(2);
  });

  test('makes one request of each call that is throttled, however many', async () => {
    const double = await KmsDouble.start(() => ({ exception: 'ThrottlingException' }));
    const { aws } = await openAws(double.url);
    for (let call = 0; call < 10; call += 1)
      expect((await failureOf(aws.unwrap({ kekId: KEY_ARN, ciphertext: LOCAL_KEY }, signal))).code).toBe('throttled');
    expect(double.asked).toHaveLength(10);
  });

  test('ends a request with the signal, and answers none after close', async () => {
    const double = await KmsDouble.start(() => 'nothing');
    const { aws } = await openAws(double.url);
    const giveUp = new AbortController();
    const call = failureOf(aws.unwrap({ kekId: KEY_ARN, ciphertext: LOCAL_KEY }, giveUp.signal));
    await expect.poll(() => double.asked.length).toBe(1);
    giveUp.abort();
    expect((await call).code).toBe('unavailable');
    await aws.close();
    const { code, message } = await failureOf(aws.currentKekId(signal));
    expect(code).toBe('internal');
    expect(message).toMatch(/: the backend is closed$/);
    expect(double.asked).toHaveLength(1);
  });
});
