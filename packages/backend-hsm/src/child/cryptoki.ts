/**
 * The part of pkcs11js that is used, and the numbers of PKCS #11 that go with it.
 *
 * Declared here and not imported from there: pkcs11js is compiled at installation, and where that failed it is not there, while
 * everything else has to build all the same.
 *
 * @see PKCS #11 Cryptographic Token Interface Base Specification Version 2.40 / 3.0
 */

/** Sessions, objects and slots; eight bytes in the machine's own order. */
export type Handle = Buffer;

export interface Mechanism {
  readonly mechanism: number;
  readonly parameter?: Buffer | Readonly<Record<string, unknown>>;
}

export type Template = { readonly type: number; readonly value?: number | boolean | string | Buffer }[];

export interface TokenInfo {
  readonly label: string;
  readonly manufacturerID: string;
  readonly model: string;
  readonly serialNumber: string;
  readonly flags: number;
}

/** Blocks the thread; the `Async` forms run on libuv's threads and do *not* keep their buffers alive. */
export interface Cryptoki {
  load(path: string): void;
  C_Initialize(options: { readonly libraryParameters?: string; readonly flags: number }): void;
  C_Finalize(): void;
  C_GetInfo(): { readonly manufacturerID: string; readonly libraryDescription: string };
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): TokenInfo;
  C_GetMechanismList(slot: Handle): number[];
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_CloseAllSessions(slot: Handle): void;
  C_Login(session: Handle, userType: number, pin: string): void;
  C_Logout(session: Handle): void;
  C_CreateObject(session: Handle, template: Template): Handle;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_FindObjectsInit(session: Handle, template: Template): void;
  C_FindObjects(session: Handle, maximum: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: Template,
  ): { readonly type: number; readonly value: Buffer }[];
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_EncryptAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_DecryptAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_SignAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  C_WrapKeyAsync(session: Handle, mechanism: Mechanism, wrapping: Handle, key: Handle, output: Buffer): Promise<Buffer>;
  C_UnwrapKeyAsync(
    session: Handle,
    mechanism: Mechanism,
    unwrapping: Handle,
    wrapped: Buffer,
    template: Template,
  ): Promise<Handle>;
}

export const CKF = {
  osLockingOk: 0x2,
  serialSession: 0x4,
  loginRequired: 0x4,
  tokenInitialized: 0x400,
  userPinCountLow: 0x1_0000,
  userPinFinalTry: 0x2_0000,
  userPinLocked: 0x4_0000,
} as const;

export const CKU_USER = 1;

export const CKO = { publicKey: 2, privateKey: 3, secretKey: 4 } as const;

export const CKK = { rsa: 0, genericSecret: 0x10, aes: 0x1f, sha256Hmac: 0x2b } as const;

export const CKA = {
  class: 0,
  token: 1,
  private: 2,
  label: 3,
  value: 0x11,
  keyType: 0x100,
  checkValue: 0x90,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  wrap: 0x106,
  unwrap: 0x107,
  sign: 0x108,
  modulus: 0x120,
  publicExponent: 0x122,
  valueLength: 0x161,
  extractable: 0x162,
} as const;

export const CKM = {
  rsaPkcsOaep: 0x9,
  sha1: 0x220,
  sha256: 0x250,
  sha256Hmac: 0x251,
  sha384: 0x260,
  sha512: 0x270,
  aesCbc: 0x1082,
  aesGcm: 0x1087,
  /** Named CKM_AES_KEY_WRAP_PAD; RFC 5649 in some modules, RFC 3394 over a PKCS #7 padding in others. A module opens what it made. */
  aesKeyWrapPad: 0x210a,
} as const;

export const CKG_MGF1 = { sha1: 1, sha256: 2, sha384: 3, sha512: 4 } as const;

/** Which structure pkcs11js makes of a mechanism's parameter. */
export const PARAMETER = { rsaOaep: 4, aesGcm240: 7 } as const;

export const CKR = {
  argumentsBad: 0x7,
  attributeSensitive: 0x11,
  attributeTypeInvalid: 0x12,
  functionNotSupported: 0x54,
  mechanismInvalid: 0x70,
  mechanismParamInvalid: 0x71,
  pinIncorrect: 0xa0,
  pinInvalid: 0xa1,
  pinLenRange: 0xa2,
  pinExpired: 0xa3,
  pinLocked: 0xa4,
  userAlreadyLoggedIn: 0x100,
  userNotLoggedIn: 0x101,
  userPinNotInitialized: 0x102,
  cryptokiNotInitialized: 0x190,
  cryptokiAlreadyInitialized: 0x191,
} as const;
