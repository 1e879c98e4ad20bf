/*
 * N-API bindings of the kernels, on typed arrays. This file checks sizes; the callers in src/engines/native-engine.ts
 * check values. The only state between calls is the parity code's public columns.
 */
#define NAPI_VERSION 8
#include <node_api.h>

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kernel.h"
#include "secret.h"
#include "table.h"

#define COLUMNS (342u * 24u)

static uint8_t *columns; /* set once, by the first thread */

static int runs_here(const mr_kernel *kernel) {
#if defined(__x86_64__)
  if (kernel == &mr_kernel_avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi2");
  if (kernel == &mr_kernel_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#endif
  (void)kernel;
  return 1;
}

/* Fastest first. */
static const mr_kernel *const kernels[] = {
#if defined(__x86_64__)
    &mr_kernel_avx512,
    &mr_kernel_avx2,
#elif defined(__aarch64__)
    &mr_kernel_neon,
#endif
    &mr_kernel_portable,
};
#define KERNELS (sizeof kernels / sizeof *kernels)

typedef struct {
  void *data;
  size_t length; /* in elements */
} array;

static napi_value refuse(napi_env env, const char *message) {
  napi_throw_type_error(env, NULL, message);
  return NULL;
}

static int get_array(napi_env env, napi_value value, size_t element, array *out) {
  napi_typedarray_type type;
  bool is = false;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is) return 0;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &out->data, NULL, NULL) != napi_ok) return 0;
  static const size_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  return (size_t)type < sizeof sizes / sizeof *sizes && sizes[type] == element;
}

static int get_u32(napi_env env, napi_value value, uint32_t *out) {
  return napi_get_value_uint32(env, value, out) == napi_ok;
}

#define MAX_ARGUMENTS 10

typedef struct {
  napi_env env;
  napi_value values[MAX_ARGUMENTS];
  size_t next;
  int good;
} arguments;

static arguments read_arguments(napi_env env, napi_callback_info info, size_t expected) {
  arguments a = {.env = env};
  size_t count = MAX_ARGUMENTS;
  a.good = napi_get_cb_info(env, info, &count, a.values, NULL, NULL) == napi_ok && count >= expected;
  return a;
}

static uint32_t next_u32(arguments *a) {
  uint32_t value = 0;
  a->good = a->good && get_u32(a->env, a->values[a->next++], &value);
  return value;
}

static array next_array(arguments *a, size_t element) {
  array out = {0};
  a->good = a->good && get_array(a->env, a->values[a->next++], element, &out);
  return out;
}

static const mr_kernel *next_kernel(arguments *a) {
  const uint32_t which = next_u32(a);
  a->good = a->good && which < KERNELS && runs_here(kernels[which < KERNELS ? which : 0]);
  return kernels[which < KERNELS ? which : 0];
}

/* The block as words (25 lanes), then the number of rounds. */
static mr_key next_key(arguments *a) {
  const array block = next_array(a, 4);
  const uint32_t rounds = next_u32(a);
  a->good = a->good && block.length == 50 && (rounds == 24 || rounds == 12);
  return (mr_key){block.data, (int)rounds};
}

/* kernelNames(): [[name, detail] …]; an empty string for a kernel that this processor cannot run. */
static napi_value kernel_names(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value list;
  napi_create_array(env, &list);
  for (uint32_t i = 0; i < KERNELS; i++) {
    napi_value pair, name, detail;
    const int runs = runs_here(kernels[i]);
    napi_create_array_with_length(env, 2, &pair);
    napi_create_string_utf8(env, runs ? kernels[i]->name : "", NAPI_AUTO_LENGTH, &name);
    napi_create_string_utf8(env, kernels[i]->detail, NAPI_AUTO_LENGTH, &detail);
    napi_set_element(env, pair, 0, name);
    napi_set_element(env, pair, 1, detail);
    napi_set_element(env, list, i, pair);
  }
  return list;
}

/* loadColumns(bytes): the generator of the parity code, the same for every thread. */
static napi_value load_columns(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 1);
  const array bytes = next_array(&a, 1);
  if (!a.good || bytes.length != COLUMNS * MR_COLUMN_BYTES) return refuse(env, "loadColumns: wrong arguments");
  if (__atomic_load_n(&columns, __ATOMIC_ACQUIRE) != NULL) return NULL;
  uint8_t *copy = aligned_alloc(MR_COLUMN_BYTES, bytes.length);
  if (copy == NULL) return refuse(env, "loadColumns: no memory");
  memcpy(copy, bytes.data, bytes.length);
  uint8_t *none = NULL;
  if (!__atomic_compare_exchange_n(&columns, &none, copy, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) free(copy);
  return NULL;
}

/* hashBatch(kernel, block, rounds, high, values, out) */
static napi_value hash_batch(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 6);
  const mr_kernel *kernel = next_kernel(&a);
  const mr_key key = next_key(&a);
  const uint32_t high = next_u32(&a);
  const array values = next_array(&a, 4), out = next_array(&a, 4);
  if (!a.good || out.length < 2 * values.length) return refuse(env, "hashBatch: wrong arguments");
  kernel->batch(&key, high, values.data, values.length, out.data);
  return NULL;
}

/* hashRange(kernel, block, rounds, first, out) */
static napi_value hash_range(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 5);
  const mr_kernel *kernel = next_kernel(&a);
  const mr_key key = next_key(&a);
  const uint32_t first = next_u32(&a);
  const array out = next_array(&a, 4);
  if (!a.good || out.length > (1ull << 32) - first) return refuse(env, "hashRange: wrong arguments");
  kernel->range(&key, first, out.length, out.data);
  return NULL;
}

/* order, parts, entries, ends: a finished table; with runs and cursors, a table under construction. */
static mr_build next_table(arguments *a, int building) {
  mr_build build = {0};
  build.order = next_u32(a);
  build.parts = next_u32(a);
  const array entries = next_array(a, 4), ends = next_array(a, 2);
  a->good = a->good && (build.order == 16 || build.order == 24) && build.parts == 1u << (build.order - 16) &&
            entries.length % build.parts == 0 && ends.length == (size_t)build.parts * MR_PART_ENDS;
  build.entries = entries.data;
  build.ends = ends.data;
  build.capacity = a->good ? (uint32_t)(entries.length / build.parts) : 0;
  if (building) {
    const array runs = next_array(a, 4), cursors = next_array(a, 4);
    a->good = a->good && runs.length == 2 * (size_t)build.parts * ((1u << build.order) / MR_SUPERBLOCK) &&
              cursors.length == build.parts;
    build.runs = runs.data;
    build.cursors = cursors.data;
  }
  return build;
}

/*
 * Long work, run in libuv's threads, which need no JavaScript engine of their own. The arrays are referenced until the
 * work is done. The promise resolves with the work's result: true, false or a number.
 */
typedef struct job job;
struct job {
  uint32_t (*run)(job *);
  uint32_t result;
  int is_number;
  napi_async_work work;
  napi_deferred deferred;
  napi_ref kept[MAX_ARGUMENTS];
  size_t kept_count;
  const mr_kernel *kernel;
  uint64_t block[25];
  int rounds;
  mr_build build;
  uint32_t first, count, part, symbol_bits;
  array a, b, c, d, e;
};

static void job_execute(napi_env env, void *data) {
  (void)env;
  job *j = data;
  j->result = j->run(j);
}

static void job_complete(napi_env env, napi_status status, void *data) {
  job *j = data;
  napi_value result;
  if (status != napi_ok) {
    napi_value message;
    napi_create_string_utf8(env, "the work was cancelled", NAPI_AUTO_LENGTH, &message);
    napi_create_error(env, NULL, message, &result);
    napi_reject_deferred(env, j->deferred, result);
  } else {
    if (j->is_number) napi_create_uint32(env, j->result, &result);
    else napi_get_boolean(env, j->result != 0, &result);
    napi_resolve_deferred(env, j->deferred, result);
  }
  for (size_t i = 0; i < j->kept_count; i++) napi_delete_reference(env, j->kept[i]);
  napi_delete_async_work(env, j->work);
  memset(j->block, 0, sizeof j->block);
  free(j);
}

/* Starts a prepared job; `a` are the arguments of the call. */
static napi_value job_start(napi_env env, const arguments *a, job *j) {
  napi_value promise, name;
  for (size_t i = 0; i < a->next; i++) {
    bool is = false;
    if (napi_is_typedarray(env, a->values[i], &is) == napi_ok && is &&
        napi_create_reference(env, a->values[i], 1, &j->kept[j->kept_count]) == napi_ok)
      j->kept_count++;
  }
  napi_create_promise(env, &j->deferred, &promise);
  napi_create_string_utf8(env, "live_matrix", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, job_execute, job_complete, j, &j->work);
  napi_queue_async_work(env, j->work);
  return promise;
}

static uint32_t run_partition(job *j) {
  const mr_key key = {j->block, j->rounds};
  return (uint32_t)mr_partition(j->kernel, &key, &j->build, j->first, j->count);
}

static uint32_t run_index(job *j) {
  uint32_t good = 1;
  for (uint32_t part = j->first; good && part < j->first + j->count; part++) good = (uint32_t)mr_index(&j->build, part);
  return good;
}

static uint32_t run_wipe(job *j) {
  mr_wipe(&j->build);
  return 1;
}

static uint32_t run_discard(job *j) {
  mr_discard(&j->build);
  return 1;
}

static napi_value finish_or_start(napi_env env, const arguments *a, const job *filled, int later) {
  if (later) {
    job *j = malloc(sizeof *j);
    if (j == NULL) return refuse(env, "no memory");
    *j = *filled;
    return job_start(env, a, j);
  }
  job now = *filled;
  napi_value result;
  const uint32_t value = now.run(&now);
  if (now.is_number) napi_create_uint32(env, value, &result);
  else napi_get_boolean(env, value != 0, &result);
  memset(now.block, 0, sizeof now.block);
  return result;
}

/* Whether the call is the second of its pair, from the data field of napi_property_descriptor. */
static int is_later(napi_env env, napi_callback_info info) {
  void *data = NULL;
  napi_get_cb_info(env, info, NULL, NULL, NULL, &data);
  return data != NULL;
}

/* partition(kernel, block, rounds, order, parts, entries, ends, runs, cursors, [first, count]) → false: a part is full */
static napi_value partition(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 10);
  job j = {.run = run_partition};
  j.kernel = next_kernel(&a);
  const mr_key key = next_key(&a);
  j.build = next_table(&a, 1);
  const array span = next_array(&a, 4);
  if (!a.good || span.length != 2) return refuse(env, "partition: wrong arguments");
  j.first = ((const uint32_t *)span.data)[0];
  j.count = ((const uint32_t *)span.data)[1];
  if (j.first > 1u << j.build.order || j.count > (1u << j.build.order) - j.first)
    return refuse(env, "partition: values beyond the order");
  if (j.first % MR_SUPERBLOCK != 0 || j.count % MR_SUPERBLOCK != 0)
    return refuse(env, "partition: not whole superblocks");
  memcpy(j.block, key.block, sizeof j.block);
  j.rounds = key.rounds;
  return finish_or_start(env, &a, &j, is_later(env, info));
}

/* index(order, parts, entries, ends, runs, cursors, first, count) → false: a part is too full, or memory is short */
static napi_value index_parts(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 8);
  job j = {.run = run_index};
  j.build = next_table(&a, 1);
  j.first = next_u32(&a);
  j.count = next_u32(&a);
  if (!a.good || j.first > j.build.parts || j.count > j.build.parts - j.first)
    return refuse(env, "index: wrong arguments");
  return finish_or_start(env, &a, &j, is_later(env, info));
}

/* wipe(order, parts, entries, ends) */
static napi_value wipe_table(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 4);
  job j = {.run = run_wipe};
  j.build = next_table(&a, 0);
  if (!a.good) return refuse(env, "wipe: wrong arguments");
  return finish_or_start(env, &a, &j, is_later(env, info));
}

/* discard(order, parts, entries, ends) */
static napi_value discard_table(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 4);
  job j = {.run = run_discard};
  j.build = next_table(&a, 0);
  if (!a.good) return refuse(env, "discard: wrong arguments");
  return finish_or_start(env, &a, &j, is_later(env, info));
}

static uint32_t run_look_up(job *j) {
  return mr_look_up(&j->build, j->a.data, j->b.data, j->a.length, j->c.data, j->d.data, (uint32_t)j->d.length);
}

/* lookUp(order, parts, entries, ends, codes, skip, starts, found) → number of candidates */
static napi_value look_up(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 8);
  job j = {.run = run_look_up, .is_number = 1};
  j.build = next_table(&a, 0);
  j.a = next_array(&a, 4); /* codes */
  j.b = next_array(&a, 1); /* skip */
  j.c = next_array(&a, 4); /* starts */
  j.d = next_array(&a, 4); /* found */
  if (!a.good || j.b.length < j.a.length || j.c.length < j.a.length + 1 || j.d.length > UINT32_MAX)
    return refuse(env, "lookUp: wrong arguments");
  return finish_or_start(env, &a, &j, is_later(env, info));
}

/* Blocks of four words each, checked against the lengths of hints and parity. */
static int blocks_fit(const array *blocks, size_t hints, size_t parity_bytes, uint32_t symbol_bits) {
  const mr_block *block = blocks->data;
  if (blocks->length % 4 != 0 || (symbol_bits != 8 && symbol_bits != 16 && symbol_bits != 24)) return 0;
  for (size_t i = 0; i < blocks->length / 4; i++, block++) {
    if (block->hints * symbol_bits > COLUMNS || block->parity_bytes > MR_COLUMN_BYTES) return 0;
    if ((uint64_t)block->first + block->hints > hints) return 0;
    if ((uint64_t)block->parity_at + block->parity_bytes > parity_bytes) return 0;
  }
  return 1;
}

/* parity(kernel, values, symbolBits, blocks, out) */
static napi_value parity_of(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 5);
  const mr_kernel *kernel = next_kernel(&a);
  const array values = next_array(&a, 4);
  const uint32_t symbol_bits = next_u32(&a);
  const array blocks = next_array(&a, 4), out = next_array(&a, 1);
  const uint8_t *code = __atomic_load_n(&columns, __ATOMIC_ACQUIRE);
  if (!a.good || code == NULL || !blocks_fit(&blocks, values.length, out.length, symbol_bits))
    return refuse(env, "parity: wrong arguments");
  kernel->parity(code, values.data, symbol_bits, blocks.data, blocks.length / 4, out.data);
  return NULL;
}

static uint32_t run_solve(job *j) {
  const uint8_t *code = __atomic_load_n(&columns, __ATOMIC_ACQUIRE);
  const mr_block *block = j->c.data;
  uint32_t solved = 1;
  for (size_t i = 0; solved && i < j->c.length / 4; i++)
    solved = (uint32_t)j->kernel->solve(code, j->a.data, j->b.data, j->symbol_bits, &block[i], j->d.data, j->e.data);
  return solved;
}

/* solve(kernel, starts, candidates, symbolBits, blocks, parity, out) → true when every block was solved */
static napi_value solve_blocks(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 7);
  job j = {.run = run_solve};
  j.kernel = next_kernel(&a);
  j.a = next_array(&a, 4); /* starts */
  j.b = next_array(&a, 4); /* candidates */
  j.symbol_bits = next_u32(&a);
  j.c = next_array(&a, 4); /* blocks */
  j.d = next_array(&a, 1); /* parity */
  j.e = next_array(&a, 4); /* out */
  if (!a.good || __atomic_load_n(&columns, __ATOMIC_ACQUIRE) == NULL || j.a.length != j.e.length + 1 ||
      !blocks_fit(&j.c, j.e.length, j.d.length, j.symbol_bits))
    return refuse(env, "solve: wrong arguments");
  const uint32_t *at = j.a.data;
  for (size_t i = 0; i < j.e.length; i++)
    if (at[i] > at[i + 1]) return refuse(env, "solve: candidates are out of order");
  if (at[j.e.length] > j.b.length) return refuse(env, "solve: candidates are missing");
  return finish_or_start(env, &a, &j, is_later(env, info));
}

/* estimateClock() → cycles a second, or 0 */
static napi_value estimate_clock(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  napi_create_double(env, mr_estimate_clock(), &result);
  return result;
}

/* lockPages(bytes) → [first, length] of the whole pages that are now locked, or undefined */
static napi_value lock_pages(napi_env env, napi_callback_info info) {
  arguments a = read_arguments(env, info, 1);
  const array bytes = next_array(&a, 1);
  if (!a.good) return refuse(env, "lockPages: wrong arguments");
  size_t first = 0;
  const size_t length = mr_lock_pages(bytes.data, bytes.length, &first);
  if (length == 0) return NULL;
  napi_value pair, value;
  napi_create_array_with_length(env, 2, &pair);
  napi_create_double(env, (double)first, &value);
  napi_set_element(env, pair, 0, value);
  napi_create_double(env, (double)length, &value);
  napi_set_element(env, pair, 1, value);
  return pair;
}

/* forbidLooking() → whether the system now forbids it */
static napi_value forbid_looking(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  napi_get_boolean(env, mr_forbid_looking() != 0, &result);
  return result;
}

static napi_value init(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
#define FUNCTION(name, call, data) {name, NULL, call, NULL, NULL, NULL, napi_default, data}
#define LATER ((void *)&columns) /* any address: the call returns a promise and works in another thread */
      FUNCTION("kernelNames", kernel_names, NULL),
      FUNCTION("loadColumns", load_columns, NULL),
      FUNCTION("hashBatch", hash_batch, NULL),
      FUNCTION("hashRange", hash_range, NULL),
      FUNCTION("parity", parity_of, NULL),
      FUNCTION("estimateClock", estimate_clock, NULL),
      FUNCTION("lockPages", lock_pages, NULL),
      FUNCTION("forbidLooking", forbid_looking, NULL),
      FUNCTION("partition", partition, NULL),
      FUNCTION("partitionLater", partition, LATER),
      FUNCTION("index", index_parts, NULL),
      FUNCTION("indexLater", index_parts, LATER),
      FUNCTION("wipe", wipe_table, NULL),
      FUNCTION("wipeLater", wipe_table, LATER),
      FUNCTION("discard", discard_table, NULL),
      FUNCTION("lookUp", look_up, NULL),
      FUNCTION("lookUpLater", look_up, LATER),
      FUNCTION("solve", solve_blocks, NULL),
      FUNCTION("solveLater", solve_blocks, LATER),
  };
  napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions);
  return exports;
}

NAPI_MODULE(live_matrix, init)
