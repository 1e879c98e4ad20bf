import { MillraceError } from '@millrace/base';

export type Handle = Uint8Array;
export interface Attribute {
  readonly type: number;
  readonly value?: number | boolean | string | Uint8Array;
}

/** The part of PKCS #11 2.40 that keys of machines need, as `pkcs11js` offers it. */
export interface Cryptoki {
  load(path: string): void;
  C_Initialize(options: { readonly flags: number }): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetSlotInfo(slot: Handle): { readonly flags: number };
  C_GetTokenInfo(slot: Handle): {
    readonly label: string;
    readonly manufacturerID: string;
    readonly model: string;
    readonly serialNumber: string;
    readonly flags: number;
  };
  C_GetMechanismList(slot: Handle): number[];
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_GetSessionInfo(session: Handle): { readonly state: number };
  C_Login(session: Handle, user: number, pin: string): void;
  C_GenerateKeyPairAsync(
    session: Handle,
    mechanism: { readonly mechanism: number },
    publicKey: readonly Attribute[],
    privateKey: readonly Attribute[],
  ): Promise<{ readonly publicKey: Handle; readonly privateKey: Handle }>;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, most: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: readonly Attribute[],
  ): { readonly value: Uint8Array }[];
  C_SignInit(session: Handle, mechanism: { readonly mechanism: number }, key: Handle): void;
  C_SignAsync(session: Handle, digest: Uint8Array, signature: Uint8Array): Promise<Uint8Array>;
  C_DeriveKeyAsync(
    session: Handle,
    mechanism: { readonly mechanism: number; readonly parameter: unknown },
    key: Handle,
    template: readonly Attribute[],
  ): Promise<Handle>;
  C_DestroyObject(session: Handle, object: Handle): void;
}

/** Constants of PKCS #11 2.40 (pkcs11t.h), and of pkcs11js for parameters. */
export const ck = {
  CKF_HW_SLOT: 0x4,
  CKF_WRITE_PROTECTED: 0x2,
  CKF_RW_SESSION: 0x2,
  CKF_SERIAL_SESSION: 0x4,
  CKF_OS_LOCKING_OK: 0x2,
  CKF_LOGIN_REQUIRED: 0x4,
  CKF_USER_PIN_COUNT_LOW: 0x10000,
  CKF_USER_PIN_FINAL_TRY: 0x20000,
  CKF_USER_PIN_LOCKED: 0x40000,
  CKU_USER: 1,
  CKS_RO_USER_FUNCTIONS: 1,
  CKS_RW_USER_FUNCTIONS: 3,
  CKO_PUBLIC_KEY: 2,
  CKO_PRIVATE_KEY: 3,
  CKO_SECRET_KEY: 4,
  CKO_HW_FEATURE: 5,
  CKH_MONOTONIC_COUNTER: 1,
  CKK_EC: 3,
  CKK_GENERIC_SECRET: 0x10,
  CKA_CLASS: 0,
  CKA_TOKEN: 1,
  CKA_PRIVATE: 2,
  CKA_LABEL: 3,
  CKA_VALUE: 0x11,
  CKA_KEY_TYPE: 0x100,
  CKA_ID: 0x102,
  CKA_SENSITIVE: 0x103,
  CKA_SIGN: 0x108,
  CKA_VERIFY: 0x10a,
  CKA_DERIVE: 0x10c,
  CKA_VALUE_LEN: 0x161,
  CKA_EXTRACTABLE: 0x162,
  CKA_EC_PARAMS: 0x180,
  CKA_EC_POINT: 0x181,
  CKA_HW_FEATURE_TYPE: 0x300,
  CKM_EC_KEY_PAIR_GEN: 0x1040,
  CKM_ECDSA: 0x1041,
  CKM_ECDH1_DERIVE: 0x1050,
  CKD_NULL: 1,
  /** Type of pkcs11js for CK_ECDH1_DERIVE_PARAMS. */
  CK_PARAMS_EC_DH: 6,
} as const;

/** Name of the PKCS #11 result in an error of the binding: 'CKR_PIN_INCORRECT'. Contains no input. */
export function resultOf(error: unknown): string {
  return /CKR_[A-Z0-9_]+/.exec(error instanceof Error ? error.message : '')?.[0] ?? 'no PKCS #11 result';
}

export type LoadCryptoki = (module: string) => Promise<Cryptoki>;

/**
 * A module is initialised once per process, and is never unloaded: other keys of this process may use it, and the
 * binding would unload it when it is garbage-collected. Machines that start together wait for the same module.
 * @param create a binding without a module
 */
export function loadingOnce(create: () => Promise<Cryptoki>): LoadCryptoki {
  const loads = new Map<string, Promise<Cryptoki>>();
  return (module) => {
    const known = loads.get(module);
    if (known !== undefined) return known;
    const loading = initialised(module, create);
    loads.set(module, loading);
    loading.catch(() => loads.delete(module));
    return loading;
  };
}

async function initialised(module: string, create: () => Promise<Cryptoki>): Promise<Cryptoki> {
  const cryptoki = await create();
  try {
    cryptoki.load(module);
    cryptoki.C_Initialize({ flags: ck.CKF_OS_LOCKING_OK });
  } catch (cause) {
    if (resultOf(cause) !== 'CKR_CRYPTOKI_ALREADY_INITIALIZED')
      throw new MillraceError('E_CONFIG', `cannot load the PKCS #11 module ${module}`, { cause });
  }
  return cryptoki;
}

/** Loads a PKCS #11 module with the optional package `pkcs11js`. @throws {MillraceError} E_CONFIG */
export const loadCryptoki: LoadCryptoki = loadingOnce(newBinding);

async function newBinding(): Promise<Cryptoki> {
  // A variable name, so that the compiler does not resolve it: the package may be missing.
  const name: string = 'pkcs11js';
  try {
    const { default: binding } = (await import(name)) as { readonly default: { readonly PKCS11: new () => Cryptoki } };
    return new binding.PKCS11();
  } catch (cause) {
    throw new MillraceError('E_CONFIG', 'keys in a token need the package pkcs11js: npm install pkcs11js@2', { cause });
  }
}
