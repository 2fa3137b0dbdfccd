/*
 * A PKCS #11 module that stands before another one and misbehaves on command.
 *
 * SHIM_MODULE names the module behind it, SHIM_CONTROL a file with one rule a line, read anew at each call of a function:
 *
 *   <function or *> <what> [argument]
 *
 *   error VALUE    returns VALUE (as strtoul reads it) and does not call the module
 *   delay MS       waits, then goes on
 *   hang           never returns
 *   abort          ends the process as a failed assertion does
 *   segv           ends the process as a bad pointer does
 *   leak MIB       allocates, touches and forgets so much memory, then goes on
 *   drop           closes every session of the slot behind the caller's back, then goes on
 *   corrupt        flips a bit in what C_Encrypt, C_Decrypt, C_Sign or C_WrapKey returned
 *
 * SHIM_LOG, where given, gets a line with its name for each call.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long UL;
typedef unsigned char B;
typedef UL (*Function)();

/* The start of CK_FUNCTION_LIST: a version, then pointers in the order of the specification, version 2.40, section 4.6. */
enum {
  I_Initialize, I_Finalize, I_GetInfo, I_GetFunctionList, I_GetSlotList, I_GetSlotInfo, I_GetTokenInfo, I_GetMechanismList,
  I_GetMechanismInfo, I_InitToken, I_InitPIN, I_SetPIN, I_OpenSession, I_CloseSession, I_CloseAllSessions, I_GetSessionInfo,
  I_GetOperationState, I_SetOperationState, I_Login, I_Logout, I_CreateObject, I_CopyObject, I_DestroyObject, I_GetObjectSize,
  I_GetAttributeValue, I_SetAttributeValue, I_FindObjectsInit, I_FindObjects, I_FindObjectsFinal, I_EncryptInit, I_Encrypt,
  I_EncryptUpdate, I_EncryptFinal, I_DecryptInit, I_Decrypt, I_DecryptUpdate, I_DecryptFinal, I_DigestInit, I_Digest,
  I_DigestUpdate, I_DigestKey, I_DigestFinal, I_SignInit, I_Sign, I_SignUpdate, I_SignFinal, I_SignRecoverInit, I_SignRecover,
  I_VerifyInit, I_Verify, I_VerifyUpdate, I_VerifyFinal, I_VerifyRecoverInit, I_VerifyRecover, I_DigestEncryptUpdate,
  I_DecryptDigestUpdate, I_SignEncryptUpdate, I_DecryptVerifyUpdate, I_GenerateKey, I_GenerateKeyPair, I_WrapKey, I_UnwrapKey,
  I_DeriveKey, I_SeedRandom, I_GenerateRandom, I_GetFunctionStatus, I_CancelFunction, I_WaitForSlotEvent, FUNCTIONS
};

typedef struct {
  B major, minor;
  Function functions[FUNCTIONS];
} List;

static List *behind;
static List ours;
static UL slot_in_use;

static void fail(const char *what) {
  fprintf(stderr, "shim: %s\n", what);
  exit(70);
}

/* Does what the control file says about `name`. Returns whether the module is to be called; if not, *value is the answer. */
static int obey(const char *name, UL *value, int *corrupt) {
  const char *log_path = getenv("SHIM_LOG");
  if (log_path != NULL) {
    FILE *log = fopen(log_path, "a");
    if (log != NULL) {
      fprintf(log, "%s\n", name);
      fclose(log);
    }
  }
  const char *path = getenv("SHIM_CONTROL");
  FILE *control = path == NULL ? NULL : fopen(path, "r");
  if (control == NULL) return 1;
  char line[256], function[64], what[32], argument[64];
  int go_on = 1;
  while (go_on && fgets(line, sizeof line, control) != NULL) {
    argument[0] = '\0';
    if (sscanf(line, "%63s %31s %63s", function, what, argument) < 2) continue;
    if (strcmp(function, "*") != 0 && strcmp(function, name) != 0) continue;
    UL number = strtoul(argument, NULL, 0);
    if (strcmp(what, "error") == 0) {
      *value = number;
      go_on = 0;
    } else if (strcmp(what, "delay") == 0) {
      usleep((useconds_t)number * 1000);
    } else if (strcmp(what, "hang") == 0) {
      fclose(control);
      for (;;) pause();
    } else if (strcmp(what, "abort") == 0) {
      abort();
    } else if (strcmp(what, "segv") == 0) {
      *(volatile int *)8 = 0;
    } else if (strcmp(what, "leak") == 0) {
      char *leaked = malloc(number << 20);
      if (leaked != NULL) memset(leaked, 1, number << 20);
    } else if (strcmp(what, "drop") == 0) {
      behind->functions[I_CloseAllSessions](slot_in_use);
    } else if (strcmp(what, "corrupt") == 0) {
      *corrupt = 1;
    } else {
      fail(line);
    }
  }
  fclose(control);
  return go_on;
}

#define BEFORE(name)            \
  UL value = 0;                 \
  int corrupt = 0;              \
  if (!obey("C_" #name, &value, &corrupt)) return value;

/* A function with up to eight arguments that are handed on as they are. */
#define PASS(name, parameters, arguments)        \
  static UL name parameters {                    \
    BEFORE(name)                                 \
    return behind->functions[I_##name] arguments; \
  }

/* A function whose last two arguments are a buffer and its length. */
#define MAKES(name, parameters, arguments)                                                        \
  static UL name parameters {                                                                     \
    BEFORE(name)                                                                                  \
    value = behind->functions[I_##name] arguments;                                                \
    if (corrupt && value == 0 && output != NULL && *length > 0) output[*length / 2] ^= 1;         \
    return value;                                                                                 \
  }

PASS(Initialize, (void *a), (a))
PASS(Finalize, (void *a), (a))
PASS(GetInfo, (void *a), (a))
PASS(GetSlotList, (B a, UL *b, UL *c), (a, b, c))
PASS(GetSlotInfo, (UL a, void *b), (a, b))
PASS(GetTokenInfo, (UL a, void *b), (a, b))
PASS(GetMechanismList, (UL a, UL *b, UL *c), (a, b, c))
PASS(CloseSession, (UL a), (a))
PASS(CloseAllSessions, (UL a), (a))
PASS(Login, (UL a, UL b, B *c, UL d), (a, b, c, d))
PASS(Logout, (UL a), (a))
PASS(CreateObject, (UL a, void *b, UL c, UL *d), (a, b, c, d))
PASS(DestroyObject, (UL a, UL b), (a, b))
PASS(GetAttributeValue, (UL a, UL b, void *c, UL d), (a, b, c, d))
PASS(FindObjectsInit, (UL a, void *b, UL c), (a, b, c))
PASS(FindObjects, (UL a, UL *b, UL c, UL *d), (a, b, c, d))
PASS(FindObjectsFinal, (UL a), (a))
PASS(EncryptInit, (UL a, void *b, UL c), (a, b, c))
PASS(DecryptInit, (UL a, void *b, UL c), (a, b, c))
PASS(SignInit, (UL a, void *b, UL c), (a, b, c))
PASS(UnwrapKey, (UL a, void *b, UL c, B *d, UL e, void *f, UL g, UL *h), (a, b, c, d, e, f, g, h))
MAKES(Encrypt, (UL a, B *b, UL c, B *output, UL *length), (a, b, c, output, length))
MAKES(Decrypt, (UL a, B *b, UL c, B *output, UL *length), (a, b, c, output, length))
MAKES(Sign, (UL a, B *b, UL c, B *output, UL *length), (a, b, c, output, length))
MAKES(WrapKey, (UL a, void *b, UL c, UL d, B *output, UL *length), (a, b, c, d, output, length))

static UL OpenSession(UL slot, UL b, void *c, void *d, UL *e) {
  BEFORE(OpenSession)
  slot_in_use = slot;
  return behind->functions[I_OpenSession](slot, b, c, d, e);
}

#define OWN(name) ours.functions[I_##name] = (Function)name

UL C_GetFunctionList(List **list) {
  if (behind == NULL) {
    const char *path = getenv("SHIM_MODULE");
    void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) fail(path == NULL ? "SHIM_MODULE is not set" : dlerror());
    Function get = (Function)dlsym(module, "C_GetFunctionList");
    if (get == NULL || get(&behind) != 0) fail("the module behind has no function list");
    ours = *behind;
    ours.functions[I_GetFunctionList] = (Function)C_GetFunctionList;
    OWN(Initialize); OWN(Finalize); OWN(GetInfo); OWN(GetSlotList); OWN(GetSlotInfo); OWN(GetTokenInfo); OWN(GetMechanismList);
    OWN(OpenSession); OWN(CloseSession); OWN(CloseAllSessions); OWN(Login); OWN(Logout); OWN(CreateObject); OWN(DestroyObject);
    OWN(GetAttributeValue); OWN(FindObjectsInit); OWN(FindObjects); OWN(FindObjectsFinal); OWN(EncryptInit); OWN(Encrypt);
    OWN(DecryptInit); OWN(Decrypt); OWN(SignInit); OWN(Sign); OWN(WrapKey); OWN(UnwrapKey);
  }
  *list = &ours;
  return 0;
}
