/* The one pass over a raw frame: read once from the camera's buffer, written once as FITS pixels.

   Compiled, because numpy needs a pass for each step (scale, sign, sum, byte order) and this part is bound by memory:
   decisions/0016-a-compiled-pass.md. What the arguments mean stands in pixel_pass.pyi; tests/unit/test_pixels.py holds
   the pass against plain numpy and astropy. */

#define Py_LIMITED_API 0x030B0000 /* one binary for Python 3.11 and newer */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Written for little-endian machines, as every Raspberry Pi and every camera buffer of it is."
#endif

/* Two neighbouring pixels share a register: the first is the lower half, and in the file the upper one. */
#define BOTH(half) ((uint32_t)(half) * 0x00010001u)

/* Pixels of 16 bits are added to 32; more than these could overflow them. */
enum { MOST_PIXELS_OF_A_LINE = 2 * 65536, MOST_PIXELS_OF_A_CELL = 65536 };

/* Bytes are asked for so far ahead, a block of pairs at a time: the next page of 4 kB. */
enum { AHEAD = 4096, BLOCK_PAIRS = 64, CACHE_LINE = 64 };

typedef struct {
    Py_ssize_t stride, width, height;
    int word_bytes, shift, bin_x, bin_y;
} Job;

typedef struct {
    uint32_t even, odd;
} Sums;

/* Writes a pair of native 16-bit words, shifted, as FITS does unsigned ones: less 32768 (BZERO), big-endian
   (FITS standard 4.0, sections 5.2.2 and 5.2.5). Adds what the pixels at even and at odd places have of the sum. */
static inline void store_pair(const uint8_t *words, uint8_t *out, int left, int right, uint32_t kept, Sums *sums)
{
    uint32_t pair;
    memcpy(&pair, words, 4);
    pair = ((pair << left >> right) & kept) ^ BOTH(0x8000);
    sums->even += pair & 0xffff;
    sums->odd += pair >> 16;
    pair = (pair & BOTH(0x00ff)) << 8 | (pair >> 8 & BOTH(0x00ff));
    memcpy(out, &pair, 4);
}

/* Writes a line as store_pair does; returns its sums. */
static Sums store_line(const uint8_t *line, uint8_t *out, Py_ssize_t width, int shift)
{
    const int left = shift > 0 ? shift : 0, right = shift < 0 ? -shift : 0;
    const uint32_t kept = BOTH((0xffffu >> right << left) & 0xffffu);
    const Py_ssize_t pairs = width / 2;
    Sums sums = {0, 0};
    Py_ssize_t i = 0;

    while (i + BLOCK_PAIRS <= pairs) {
        /* Processors foresee no further than the end of a page; of what lies behind the buffers nothing is read. */
        for (int at = AHEAD; at < AHEAD + 4 * BLOCK_PAIRS; at += CACHE_LINE) {
            __builtin_prefetch(line + 4 * i + at, 0);
            __builtin_prefetch(out + 4 * i + at, 1);
        }
        for (const Py_ssize_t end = i + BLOCK_PAIRS; i < end; i++)
            store_pair(line + 4 * i, out + 4 * i, left, right, kept, &sums);
    }
    for (; i < pairs; i++)
        store_pair(line + 4 * i, out + 4 * i, left, right, kept, &sums);
    if (width % 2) {
        uint16_t last;
        memcpy(&last, line + 2 * (width - 1), 2);
        last = (uint16_t)(((unsigned)last << left >> right) ^ 0x8000);
        sums.even += last;
        last = (uint16_t)(last << 8 | last >> 8);
        memcpy(out + 2 * (width - 1), &last, 2);
    }
    return sums;
}

/* Puts the shifted words of a row into ``values``. */
static void shift_row(const uint8_t *row, uint16_t *values, Py_ssize_t count, int word_bytes, int shift)
{
    const int left = shift > 0 ? shift : 0, right = shift < 0 ? -shift : 0;

    if (word_bytes == 1) {
        for (Py_ssize_t i = 0; i < count; i++)
            values[i] = (uint16_t)((unsigned)row[i] << left >> right);
        return;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        uint16_t value;
        memcpy(&value, row + 2 * i, 2);
        values[i] = (uint16_t)((uint16_t)((unsigned)value << left) >> right);
    }
}

static inline void add_cells(const uint16_t *values, uint32_t *cells, Py_ssize_t width, int bin_x)
{
    for (Py_ssize_t x = 0; x < width; x++)
        for (int i = 0; i < bin_x; i++)
            cells[x] += values[x * bin_x + i];
}

/* Puts the clipped sums of a line's cells over its first values; ``values`` and ``cells`` are room for a row. */
static void bin_line(const uint8_t *rows, uint16_t *values, uint32_t *cells, const Job *job)
{
    memset(cells, 0, (size_t)job->width * sizeof *cells);
    for (int y = 0; y < job->bin_y; y++) {
        shift_row(rows + y * job->stride, values, job->width * job->bin_x, job->word_bytes, job->shift);
        switch (job->bin_x) { /* a constant count lets the compiler unroll and vectorize */
        case 1: add_cells(values, cells, job->width, 1); break;
        case 2: add_cells(values, cells, job->width, 2); break;
        case 3: add_cells(values, cells, job->width, 3); break;
        case 4: add_cells(values, cells, job->width, 4); break;
        default: add_cells(values, cells, job->width, job->bin_x);
        }
    }
    for (Py_ssize_t x = 0; x < job->width; x++)
        values[x] = (uint16_t)(cells[x] < 65535 ? cells[x] : 65535);
}

/* Returns the DATASUM: the ones' complement sum of the file's 32-bit words (FITS standard 4.0, section 4.4.2.7). */
static uint32_t store_lines(const uint8_t *raw, uint8_t *out, uint16_t *values, uint32_t *cells, const Job *job)
{
    uint64_t upper = 0, lower = 0;

    for (Py_ssize_t y = 0; y < job->height; y++) {
        const uint8_t *rows = raw + y * job->bin_y * job->stride;
        uint8_t *stored = out + 2 * y * job->width;
        Sums sums;
        if (job->bin_x == 1 && job->bin_y == 1 && job->word_bytes == 2) {
            sums = store_line(rows, stored, job->width, job->shift);
        } else if (job->bin_x == 1 && job->bin_y == 1) {
            shift_row(rows, values, job->width, 1, job->shift);
            sums = store_line((const uint8_t *)values, stored, job->width, 0);
        } else {
            bin_line(rows, values, cells, job);
            sums = store_line((const uint8_t *)values, stored, job->width, 0);
        }
        const int straddles = (y & 1) && (job->width & 1); /* the line begins within a word of the file */
        upper += straddles ? sums.odd : sums.even;
        lower += straddles ? sums.even : sums.odd;
    }
    uint64_t total = (upper << 16) + lower;
    while (total >> 32)
        total = (total & 0xffffffff) + (total >> 32);
    return (uint32_t)total;
}

/* Why the arguments would lead outside the buffers, or NULL. */
static const char *misfit(const Job *job, Py_ssize_t offset, Py_ssize_t raw_bytes, Py_ssize_t out_bytes)
{
    const Py_ssize_t most = MOST_PIXELS_OF_A_LINE;
    if (job->width < 1 || job->height < 1 || job->bin_x < 1 || job->bin_y < 1 || job->width > most ||
        job->height > most || job->bin_x > most || job->bin_y > most || job->stride < 1 || job->stride > 16 * most)
        return "a width, height, binning or stride is out of range";
    if ((int64_t)job->bin_x * job->bin_y > MOST_PIXELS_OF_A_CELL)
        return "no more than 65536 pixels are binned into one";
    if ((job->word_bytes != 1 && job->word_bytes != 2) || job->shift < -15 || job->shift > 15)
        return "words have 1 or 2 bytes and are shifted by 15 bits at most";
    const int64_t rows = (int64_t)job->height * job->bin_y;
    const int64_t used = (int64_t)job->width * job->bin_x * job->word_bytes;
    if (used > job->stride || offset < 0 || offset > raw_bytes || (rows - 1) * job->stride + used > raw_bytes - offset)
        return "the region does not lie within the camera's buffer";
    if ((int64_t)job->width * job->height * 2 > out_bytes)
        return "the pixels do not fit into the memory";
    return NULL;
}

static PyObject *store(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw, out;
    Py_ssize_t offset;
    Job job;
    if (!PyArg_ParseTuple(args, "y*nniiw*nnii:store", &raw, &offset, &job.stride, &job.word_bytes, &job.shift, &out,
                          &job.width, &job.height, &job.bin_x, &job.bin_y))
        return NULL;

    PyObject *sum = NULL;
    uint16_t *values = NULL;
    uint32_t *cells = NULL;
    const char *fault = misfit(&job, offset, raw.len, out.len);
    if (fault) {
        PyErr_SetString(PyExc_ValueError, fault);
        goto end;
    }
    values = PyMem_Malloc((size_t)job.width * (size_t)job.bin_x * sizeof *values);
    cells = PyMem_Malloc((size_t)job.width * sizeof *cells);
    if (!values || !cells) {
        PyErr_NoMemory();
        goto end;
    }
    uint32_t datasum;
    Py_BEGIN_ALLOW_THREADS
    datasum = store_lines((const uint8_t *)raw.buf + offset, out.buf, values, cells, &job);
    Py_END_ALLOW_THREADS
    sum = PyLong_FromUnsignedLong(datasum);
end:
    PyMem_Free(cells);
    PyMem_Free(values);
    PyBuffer_Release(&out);
    PyBuffer_Release(&raw);
    return sum;
}

static PyMethodDef methods[] = {{"store", store, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "pixel_pass",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_pixel_pass(void)
{
    return PyModuleDef_Init(&definition);
}
