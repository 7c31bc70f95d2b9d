/* A PKCS#11 module that forwards to a real one and fails on demand. For tests only.
 *
 * In the directory of this module's file:
 *   real            a text file with the real module's path
 *   FUNCTION        "SKIP COUNT CODE COUNT CODE ..." (CODE hexadecimal): after SKIP calls of the
 *                   function, the next COUNT return CODE and do not reach the real module
 *   calls           every call of a watched function, one name a line
 *
 * Codes of our own: f001 makes C_Sign claim a signature one byte shorter than it is; f002 makes
 * C_GetAttributeValue report CKA_NEVER_EXTRACTABLE as false. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;
struct attribute { CK_ULONG type; void *value; CK_ULONG len; };

/* CK_FUNCTION_LIST: a version, then 68 functions in the standard's order. */
struct function_list { unsigned char version[2]; void *function[68]; };
enum { FIND_OBJECTS_INIT = 26, SIGN_INIT = 42, SIGN = 43, OPEN_SESSION = 12, LOGIN = 18,
       GET_ATTRIBUTE_VALUE = 24, GET_SESSION_INFO = 15, COPY_OBJECT = 21 };

static struct function_list real, list;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[4096];

static FILE *open_beside(const char *name, const char *mode) {
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return fopen(path, mode);
}

static CK_RV fault(const char *name) {
    enum { STEPS = 8 };
    unsigned long skip = 0, count[STEPS] = {0}, code[STEPS] = {0}, chosen = 0;
    pthread_mutex_lock(&lock);
    FILE *calls = open_beside("calls", "a");
    if (calls) { fprintf(calls, "%s\n", name); fclose(calls); }
    FILE *script = open_beside(name, "r");
    if (script) {
        int steps = 0;
        if (fscanf(script, "%lu", &skip) == 1)
            while (steps < STEPS && fscanf(script, "%lu %lx", &count[steps], &code[steps]) == 2)
                steps++;
        fclose(script);
        int step = 0;
        while (step < steps && !count[step]) step++;
        if (skip) skip--;
        else if (step < steps) { count[step]--; chosen = code[step]; }
        script = open_beside(name, "w");
        if (script) {
            fprintf(script, "%lu", skip);
            for (step = 0; step < steps; step++)
                fprintf(script, " %lu %lx", count[step], code[step]);
            fclose(script);
        }
    }
    pthread_mutex_unlock(&lock);
    return chosen;
}

static CK_RV open_session(CK_ULONG slot, CK_ULONG flags, void *app, void *notify, CK_ULONG *out) {
    CK_RV code = fault("C_OpenSession");
    if (code) return code;
    return ((CK_RV(*)(CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *))real.function[OPEN_SESSION])(
        slot, flags, app, notify, out);
}

static CK_RV get_session_info(CK_ULONG session, void *info) {
    CK_RV code = fault("C_GetSessionInfo");
    if (code) return code;
    return ((CK_RV(*)(CK_ULONG, void *))real.function[GET_SESSION_INFO])(session, info);
}

static CK_RV login(CK_ULONG session, CK_ULONG user, void *pin, CK_ULONG len) {
    CK_RV code = fault("C_Login");
    if (code) return code;
    return ((CK_RV(*)(CK_ULONG, CK_ULONG, void *, CK_ULONG))real.function[LOGIN])(
        session, user, pin, len);
}

static CK_RV copy_object(CK_ULONG session, CK_ULONG object, void *template, CK_ULONG count,
                         CK_ULONG *out) {
    CK_RV code = fault("C_CopyObject");
    if (code) return code;
    return ((CK_RV(*)(CK_ULONG, CK_ULONG, void *, CK_ULONG, CK_ULONG *))
                real.function[COPY_OBJECT])(session, object, template, count, out);
}

static CK_RV get_attribute_value(CK_ULONG session, CK_ULONG object, struct attribute *template,
                                 CK_ULONG count) {
    CK_RV code = fault("C_GetAttributeValue");
    if (code && code != 0xf002) return code;
    CK_RV got = ((CK_RV(*)(CK_ULONG, CK_ULONG, struct attribute *, CK_ULONG))
                     real.function[GET_ATTRIBUTE_VALUE])(session, object, template, count);
    for (CK_ULONG i = 0; code && i < count; i++)
        if (template[i].type == 0x164 && template[i].value) *(unsigned char *)template[i].value = 0;
    return got;
}

static CK_RV find_objects_init(CK_ULONG session, void *template, CK_ULONG count) {
    CK_RV code = fault("C_FindObjectsInit");
    if (code) return code;
    return ((CK_RV(*)(CK_ULONG, void *, CK_ULONG))real.function[FIND_OBJECTS_INIT])(
        session, template, count);
}

static CK_RV sign_init(CK_ULONG session, void *mechanism, CK_ULONG key) {
    CK_RV code = fault("C_SignInit");
    if (code) return code;
    return ((CK_RV(*)(CK_ULONG, void *, CK_ULONG))real.function[SIGN_INIT])(
        session, mechanism, key);
}

static CK_RV sign(CK_ULONG session, void *data, CK_ULONG len, void *out, CK_ULONG *out_len) {
    CK_RV code = fault("C_Sign");
    if (code && code != 0xf001) return code;
    CK_RV signed_ = ((CK_RV(*)(CK_ULONG, void *, CK_ULONG, void *, CK_ULONG *))
                         real.function[SIGN])(session, data, len, out, out_len);
    if (code) *out_len -= 1;
    return signed_;
}

CK_RV C_GetFunctionList(struct function_list **out) {
    pthread_mutex_lock(&lock);
    if (!directory[0]) {
        Dl_info info;
        char path[4096] = "";
        if (!dladdr((void *)C_GetFunctionList, &info)) goto failed;
        snprintf(directory, sizeof directory, "%s", info.dli_fname);
        char *slash = strrchr(directory, '/');
        if (!slash) goto failed;
        *slash = 0;
        FILE *file = open_beside("real", "r");
        if (!file) goto failed;
        char *line = fgets(path, sizeof path, file);
        fclose(file);
        void *module = line ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        if (!module) goto failed;
        CK_RV (*get)(struct function_list **) =
            (CK_RV(*)(struct function_list **))dlsym(module, "C_GetFunctionList");
        struct function_list *theirs = NULL;
        if (!get || get(&theirs)) goto failed;
        real = *theirs;
        list = real;
        list.function[OPEN_SESSION] = (void *)open_session;
        list.function[GET_SESSION_INFO] = (void *)get_session_info;
        list.function[LOGIN] = (void *)login;
        list.function[COPY_OBJECT] = (void *)copy_object;
        list.function[GET_ATTRIBUTE_VALUE] = (void *)get_attribute_value;
        list.function[FIND_OBJECTS_INIT] = (void *)find_objects_init;
        list.function[SIGN_INIT] = (void *)sign_init;
        list.function[SIGN] = (void *)sign;
    }
    pthread_mutex_unlock(&lock);
    *out = &list;
    return 0;
failed:
    directory[0] = 0;
    pthread_mutex_unlock(&lock);
    return 5; /* CKR_GENERAL_ERROR */
}
