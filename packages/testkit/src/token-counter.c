/*
 * A PKCS #11 module for tests: the module REAL_MODULE with a monotonic counter (PKCS #11 2.40, 4.3), which SoftHSM2 does
 * not have. The counter is the number in the file COUNTER_FILE. Each read of CKA_VALUE increases it by COUNTER_STEP.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <pkcs11/pkcs11.h>

static const CK_OBJECT_HANDLE COUNTER = 0x7fff0001;
static CK_FUNCTION_LIST own;
static CK_FUNCTION_LIST_PTR real;
/* The search for the counter of one session at a time is enough: callers take turns. */
static CK_SESSION_HANDLE searching;
static int found;

static CK_ULONG next_value(void) {
  CK_ULONG value = 0;
  int file = open(COUNTER_FILE, O_RDWR | O_CREAT, 0600);
  if (file < 0 || flock(file, LOCK_EX) != 0) return 0;
  if (pread(file, &value, sizeof value, 0) != sizeof value) value = 0;
  value += COUNTER_STEP;
  if (pwrite(file, &value, sizeof value, 0) != sizeof value) value = 0;
  close(file);
  return value;
}

static CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG count) {
  for (CK_ULONG at = 0; at < count; at++)
    if (template[at].type == CKA_CLASS && *(CK_OBJECT_CLASS *)template[at].pValue == CKO_HW_FEATURE) {
      searching = session;
      found = 0;
      return CKR_OK;
    }
  return real->C_FindObjectsInit(session, template, count);
}

static CK_RV find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE_PTR objects, CK_ULONG most, CK_ULONG_PTR count) {
  if (searching != session) return real->C_FindObjects(session, objects, most, count);
  *count = !found && most > 0;
  if (*count) objects[0] = COUNTER;
  found = 1;
  return CKR_OK;
}

static CK_RV find_final(CK_SESSION_HANDLE session) {
  if (searching != session) return real->C_FindObjectsFinal(session);
  searching = 0;
  return CKR_OK;
}

static CK_RV get_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR template, CK_ULONG count) {
  if (object != COUNTER) return real->C_GetAttributeValue(session, object, template, count);
  for (CK_ULONG at = 0; at < count; at++) {
    if (template[at].type != CKA_VALUE) return CKR_ATTRIBUTE_TYPE_INVALID;
    if (template[at].pValue != NULL_PTR) {
      if (template[at].ulValueLen < 8) return CKR_BUFFER_TOO_SMALL;
      CK_ULONG value = next_value();
      for (int byte = 0; byte < 8; byte++) ((CK_BYTE *)template[at].pValue)[byte] = value >> (56 - 8 * byte);
    }
    template[at].ulValueLen = 8;
  }
  return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
  void *module = dlopen(REAL_MODULE, RTLD_NOW | RTLD_LOCAL);
  CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = module ? dlsym(module, "C_GetFunctionList") : NULL_PTR;
  if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
  own = *real;
  own.C_GetFunctionList = C_GetFunctionList;
  own.C_FindObjectsInit = find_init;
  own.C_FindObjects = find;
  own.C_FindObjectsFinal = find_final;
  own.C_GetAttributeValue = get_value;
  *list = &own;
  return CKR_OK;
}
