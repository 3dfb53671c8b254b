/* The hottest functions of rr_py_ws, in C.
 *
 * Each function here is the twin of a Python function of the same name, marked there with `@native.twin`: same
 * arguments, same results, and the tests hold both to that. What the functions mean is written there. Nothing in
 * this file decides: limits, costs, order and the meaning of a request are given to it, or left to Python.
 *
 * Only the limited API of Python 3.11 is used, so one library serves all later versions. Every function here works
 * on the objects it is given and keeps nothing but constants; the GIL is held throughout. `_flush.c` writes to sockets.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef const unsigned char *bytes_t;

struct span {
    bytes_t at, end;
};

static unsigned char *write_bytes(unsigned char *out, const void *bytes, Py_ssize_t size)
{
    memcpy(out, bytes, size);
    return out + size;
}

/* ---- UTF-8 ------------------------------------------------------------------------------------------------ */

#define LOW(byte) ((uint32_t)(byte) & 0x3F)
#define CONTINUES(byte) (((byte) & 0xC0) == 0x80)

/* Decode a character that is not ASCII; return its length, or 0 when none begins there. A surrogate counts as one. */
static inline int decode(bytes_t at, bytes_t end, uint32_t *character)
{
    Py_ssize_t left = end - at;

    if (*at < 0xC2 || *at > 0xF4 || left < 2 || !CONTINUES(at[1]))
        return 0;
    if (*at < 0xE0) {
        *character = (at[0] & 0x1Fu) << 6 | LOW(at[1]);
        return 2;
    }
    if (left < 3 || !CONTINUES(at[2]))
        return 0;
    if (*at < 0xF0) {
        *character = (at[0] & 0x0Fu) << 12 | LOW(at[1]) << 6 | LOW(at[2]);
        return *character < 0x800 ? 0 : 3;
    }
    if (left < 4 || !CONTINUES(at[3]))
        return 0;
    *character = (at[0] & 0x07u) << 18 | LOW(at[1]) << 12 | LOW(at[2]) << 6 | LOW(at[3]);
    return *character < 0x10000 || *character > 0x10FFFF ? 0 : 4;
}

static inline int is_surrogate(uint32_t character)
{
    return character >= 0xD800 && character < 0xE000;
}

static int is_utf8(struct span text)
{
    uint32_t character;

    while (text.at < text.end) {
        int length = *text.at < 0x80 ? 1 : decode(text.at, text.end, &character);
        if (!length || (length == 3 && is_surrogate(character)))
            return 0;
        text.at += length;
    }
    return 1;
}

/* ---- JSON strings, as Go writes them: see wire/jsontext.py ------------------------------------------------ */

/* Sixteen bytes at a time: gcc and clang make vector instructions of these for every processor. */
typedef unsigned char block_t __attribute__((vector_size(16)));
#define BLOCK ((Py_ssize_t)sizeof(block_t))

/* What an ASCII character becomes. */
static struct {
    unsigned char size, text[7];
} ascii[128];

static void make_forms(void)
{
    for (int byte = 0; byte < 128; byte++)
        ascii[byte].size = (unsigned char)snprintf((char *)ascii[byte].text, sizeof ascii->text,
                                                   byte < 0x20 || strchr("<>&", byte) ? "\\u%04x" : "%c", byte);
    for (const char *pair = "\"\"\\\\\nn\rr\tt"; *pair; pair += 2) {
        ascii[(int)*pair].size = 2;
        memcpy(ascii[(int)*pair].text, (char[]){'\\', pair[1]}, 2);
    }
}

/* Whether any byte of a block is not written as it is. */
static inline int has_special(bytes_t at)
{
    block_t block, special;
    uint64_t halves[2];

    memcpy(&block, at, sizeof block);
    special = (block_t)((block < 0x20) | (block > 0x7F) | (block == '"') | (block == '\\') | (block == '<')
                        | (block == '>') | (block == '&'));
    memcpy(halves, &special, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

/* Find out how many bytes the character at `at` has, which is not ASCII, and what it becomes.
 *
 * Of bytes that are no UTF-8 each becomes something. A `str` keeps them as surrogates, which have three bytes. */
static inline int read_character(bytes_t at, bytes_t end, int is_str, bytes_t *form, int *written)
{
    uint32_t character;
    int length = decode(at, end, &character);

    *form = at;
    *written = length;
    if (!length || (length == 3 && is_surrogate(character))) {
        *form = (bytes_t)"\\ufffd";
        *written = 6;
        return is_str && length ? length : 1;
    }
    if (length == 3 && (character | 1) == 0x2029) {
        *form = (bytes_t)(character & 1 ? "\\u2029" : "\\u2028");
        *written = 6;
    }
    return length;
}

/* Write two to six bytes. */
static inline void write_some(unsigned char *out, bytes_t bytes, int size)
{
    memcpy(out, bytes, 2);
    for (int i = 2; i < size; i++)
        out[i] = bytes[i];
}

/* Write a text as a JSON string, without the quotes; return its size. Where `out` is NULL, it is only measured. */
static inline Py_ssize_t escape(struct span text, int is_str, unsigned char *out)
{
    Py_ssize_t size = 0;
    bytes_t at = text.at;

    while (at < text.end) {
        if (text.end - at >= BLOCK && !has_special(at)) {
            if (out)
                memcpy(out + size, at, BLOCK);
            at += BLOCK;
            size += BLOCK;
            continue;
        }
        for (int i = 0; i < BLOCK && at < text.end; i++) {
            bytes_t form = at;
            int length = 1, written;
            if (*at < 0x80)
                written = ascii[*at].size;
            else
                length = read_character(at, text.end, is_str, &form, &written);
            if (out && written == 1)
                out[size] = *at;
            else if (out)
                write_some(out + size, *at < 0x80 ? ascii[*at].text : form, written);
            at += length;
            size += written;
        }
    }
    return size;
}

/* Write what was measured; return what is behind it. An escape is longer than what it stands for. */
static unsigned char *write_escaped(unsigned char *out, struct span text, int is_str, Py_ssize_t size)
{
    return size == text.end - text.at ? write_bytes(out, text.at, size) : out + escape(text, is_str, out);
}

/* ---- Pushes: wire/push.py --------------------------------------------------------------------------------- */

#define BEFORE_TOPIC "{\"topic\":\""
#define BEFORE_PAYLOAD "\",\"payload\":\""
#define BEHIND "\"}"
#define SIZE_OF(text) ((Py_ssize_t)sizeof(text) - 1)

/* Write the head of a final text frame from a server (RFC 6455 section 5.2); return what is behind it. */
static unsigned char *write_frame_head(unsigned char *out, uint64_t length)
{
    int bytes = length < 126 ? 0 : length < 65536 ? 2 : 8;

    *out++ = 0x81;
    *out++ = bytes == 0 ? (unsigned char)length : bytes == 2 ? 126 : 127;
    while (bytes--)
        *out++ = (unsigned char)(length >> 8 * bytes);
    return out;
}

static PyObject *make_push(struct span topic, struct span payload)
{
    Py_ssize_t topic_size = escape(topic, 1, NULL), payload_size = escape(payload, 0, NULL);
    Py_ssize_t length = SIZE_OF(BEFORE_TOPIC) + topic_size + SIZE_OF(BEFORE_PAYLOAD) + payload_size + SIZE_OF(BEHIND);
    PyObject *frame = PyBytes_FromStringAndSize(NULL, length + (length < 126 ? 2 : length < 65536 ? 4 : 10));

    if (frame) {
        unsigned char *out = write_frame_head((unsigned char *)PyBytes_AsString(frame), length);
        out = write_bytes(out, BEFORE_TOPIC, SIZE_OF(BEFORE_TOPIC));
        out = write_escaped(out, topic, 1, topic_size);
        out = write_bytes(out, BEFORE_PAYLOAD, SIZE_OF(BEFORE_PAYLOAD));
        out = write_escaped(out, payload, 0, payload_size);
        write_bytes(out, BEHIND, SIZE_OF(BEHIND));
    }
    return frame;
}

static PyObject *encode_push(PyObject *module, PyObject *publication)
{
    PyObject *topic, *encoded = NULL, *frame = NULL;
    const char *name;
    char *payload;
    Py_ssize_t name_size, payload_size;

    if (!PyTuple_Check(publication) || PyTuple_Size(publication) < 2)
        return PyErr_Format(PyExc_TypeError, "encode_push() takes a publication");
    topic = PyTuple_GetItem(publication, 0);
    if (PyBytes_AsStringAndSize(PyTuple_GetItem(publication, 1), &payload, &payload_size))
        return NULL;
    name = PyUnicode_AsUTF8AndSize(topic, &name_size); /* without a copy, where it is ASCII */
    if (!name) {
        PyErr_Clear();
        encoded = PyUnicode_AsEncodedString(topic, "utf-8", "surrogatepass");
        if (!encoded)
            return NULL;
        name = PyBytes_AsString(encoded);
        name_size = PyBytes_Size(encoded);
    }
    frame = make_push((struct span){(bytes_t)name, (bytes_t)name + name_size},
                      (struct span){(bytes_t)payload, (bytes_t)payload + payload_size});
    Py_XDECREF(encoded);
    return frame;
}

/* ---- Calls of PHP: wire/publish_call.py ------------------------------------------------------------------- */

#define HEADER_SIZE 20
#define FIRST 0x8015 /* five words, codec protobuf */
#define MESSAGE 0x0A
#define COMMAND 0x0A
#define TOPICS 0x12
#define PAYLOAD 0x1A
#define SHORT 1 /* bytes of a length below 128, */
#define LONG 5  /* and of any that a frame can have */

static PyObject *publication_type, *zero, *empty;
static allocfunc allocate_publication;

static uint32_t crc32_of(bytes_t at, int size)
{
    static const uint32_t of_four_bits[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    uint32_t value = 0xFFFFFFFFu;

    while (size--) {
        value ^= *at++;
        value = of_four_bits[value & 15] ^ value >> 4;
        value = of_four_bits[value & 15] ^ value >> 4;
    }
    return ~value;
}

static uint32_t read_u16(bytes_t at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

static uint32_t read_u32(bytes_t at)
{
    return read_u16(at) | read_u16(at + 2) << 16;
}

/* Read a field of protobuf whose length has at most so many bytes; return what is behind it, or NULL. */
static bytes_t read_field(bytes_t at, bytes_t end, int tag, int most, struct span *field)
{
    uint64_t size = 0;

    if (at == end || *at++ != tag)
        return NULL;
    for (int i = 0; i < most && at < end; i++) {
        size |= (uint64_t)(*at & 0x7F) << 7 * i;
        if (*at++ < 0x80) {
            if (size > (uint64_t)(end - at))
                return NULL;
            *field = (struct span){at, at + size};
            return field->end;
        }
    }
    return NULL;
}

/* Where the parts of a call are. */
struct call {
    bytes_t sequence, end;
    struct span method, topic, payload;
};

/* Read the call at `at`, if it is one of those that are read here and is all there. */
static int read_call(bytes_t at, bytes_t data_end, uint64_t longest, struct call *call)
{
    uint64_t size, name_size;
    struct span message, command;
    bytes_t end, behind;

    if (data_end - at <= HEADER_SIZE || read_u16(at) != FIRST)
        return 0;
    size = read_u32(at + 2);
    name_size = read_u32(at + 16);
    if (size > longest || size > (uint64_t)(data_end - at - HEADER_SIZE) || name_size > size
        || read_u32(at + 6) != crc32_of(at, 6))
        return 0;
    call->sequence = at + 12;
    call->method = (struct span){at + HEADER_SIZE, at + HEADER_SIZE + name_size};
    call->end = end = at + HEADER_SIZE + size;
    if (read_field(call->method.end, end, MESSAGE, LONG, &message) != end)
        return 0;
    at = message.at;
    behind = read_field(at, end, COMMAND, SHORT, &command);
    if (behind) { /* means nothing, but has to be a text */
        for (; command.at < command.end; command.at++)
            if (*command.at > 0x7F)
                return 0;
        at = behind;
    }
    behind = read_field(at, end, TOPICS, SHORT, &call->topic);
    return behind && call->topic.at < behind && read_field(behind, end, PAYLOAD, LONG, &call->payload) == end
           && is_utf8(call->topic);
}

/* A method, and what stands before and behind the sequence number of its reply. */
struct ok {
    PyObject *method;
    char *before, *behind;
    Py_ssize_t before_size, behind_size;
};

/* Find the reply to a method, unless it is there already. Return 0 when the method is not read, -1 on failure. */
static int find_ok(PyObject *oks, struct span method, struct ok *ok)
{
    PyObject *found;
    Py_ssize_t size = method.end - method.at;

    if (ok->method && PyBytes_Size(ok->method) == size && !memcmp(PyBytes_AsString(ok->method), method.at, size))
        return 1;
    Py_XDECREF(ok->method);
    ok->method = PyBytes_FromStringAndSize((const char *)method.at, size);
    found = ok->method ? PyDict_GetItemWithError(oks, ok->method) : NULL;
    if (!found)
        return PyErr_Occurred() ? -1 : 0;
    if (!PyTuple_Check(found)) {
        PyErr_SetString(PyExc_TypeError, "a reply is a tuple");
        return -1;
    }
    return PyArg_ParseTuple(found, "y#y#", &ok->before, &ok->before_size, &ok->behind, &ok->behind_size) ? 1 : -1;
}

static PyObject *make_reply(const struct call *call, const struct ok *ok)
{
    PyObject *reply = PyBytes_FromStringAndSize(NULL, ok->before_size + 4 + ok->behind_size);

    if (reply) {
        unsigned char *out = write_bytes((unsigned char *)PyBytes_AsString(reply), ok->before, ok->before_size);
        out = write_bytes(out, call->sequence, 4);
        write_bytes(out, ok->behind, ok->behind_size);
    }
    return reply;
}

/* Put items into a new tuple, which owns them afterwards; NULL when one of them, or the tuple, is missing. */
static PyObject *fill(PyObject *tuple, PyObject **items, int count)
{
    for (int i = 0; i < count; i++) {
        if (!items[i])
            Py_CLEAR(tuple);
        if (tuple)
            PyTuple_SetItem(tuple, i, items[i]);
        else
            Py_XDECREF(items[i]);
    }
    return tuple;
}

/* Make a Publication without position, time and exclusions. */
static PyObject *make_publication(const struct call *call)
{
    const struct span *topic = &call->topic, *payload = &call->payload;
    PyObject *items[] = {PyUnicode_DecodeUTF8((const char *)topic->at, topic->end - topic->at, NULL),
                         PyBytes_FromStringAndSize((const char *)payload->at, payload->end - payload->at),
                         Py_NewRef(Py_None), Py_NewRef(zero), Py_NewRef(empty)};

    return fill(allocate_publication((PyTypeObject *)publication_type, 5), items, 5);
}

/* Make of a call what Python gets. */
static PyObject *make_call(const struct call *call, const struct ok *ok, bytes_t data)
{
    PyObject *items[] = {Py_NewRef(ok->method), make_reply(call, ok), make_publication(call),
                         PyLong_FromSsize_t(call->end - data)};

    return fill(PyTuple_New(4), items, 4);
}

static int prepare_publications(void)
{
    PyObject *module = PyImport_ImportModule("rr_py_ws.wire.publication");

    publication_type = module ? PyObject_GetAttrString(module, "Publication") : NULL;
    Py_XDECREF(module);
    if (publication_type)
        allocate_publication = (allocfunc)PyType_GetSlot((PyTypeObject *)publication_type, Py_tp_alloc);
    zero = PyFloat_FromDouble(0.0);
    empty = PyTuple_New(0);
    return allocate_publication && zero && empty ? 0 : -1;
}

static PyObject *read_calls(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    PyObject *calls;
    char *bytes;
    bytes_t data, at, end;
    Py_ssize_t size, start, left, units, price;
    uint64_t longest;
    struct call call;
    struct ok ok = {NULL, NULL, NULL, 0, 0};

    if (count != 7)
        return PyErr_Format(PyExc_TypeError, "read_calls() takes 7 arguments, not %zd", count);
    if (PyBytes_AsStringAndSize(args[0], &bytes, &size))
        return NULL;
    start = PyLong_AsSsize_t(args[1]);
    left = PyLong_AsSsize_t(args[3]);
    units = PyLong_AsSsize_t(args[4]);
    price = PyLong_AsSsize_t(args[5]);
    longest = PyLong_AsUnsignedLongLong(args[6]);
    if (PyErr_Occurred() || !(calls = PyList_New(0)))
        return NULL;
    if (!PyDict_Check(args[2])) {
        Py_DECREF(calls);
        return PyErr_Format(PyExc_TypeError, "read_calls() takes a dict of replies");
    }
    data = (bytes_t)bytes;
    end = data + size;
    at = start < 0 || start > size ? end : data + start;
    while (left-- > 0 && units > 0 && read_call(at, end, longest, &call)) {
        int found = find_ok(args[2], call.method, &ok);
        PyObject *made = found > 0 ? make_call(&call, &ok, data) : NULL;
        int added = made && !PyList_Append(calls, made);
        Py_XDECREF(made);
        if (!added) {
            if (found)
                Py_CLEAR(calls);
            break;
        }
        units -= call.end - at + price;
        at = call.end;
    }
    Py_XDECREF(ok.method);
    return calls;
}

/* ---- Frames of clients: adapters/ws/protocol/fast_path.py ------------------------------------------------- */

#define TEXT 0x81
#define PONG 0x8A
#define MASKED 0x80
#define CLIENT_HEAD 6
#define LONGEST_SMALL 125

static PyObject *read_small_frame(PyObject *module, PyObject *data)
{
    char *bytes;
    bytes_t frame, mask;
    unsigned char text[LONGEST_SMALL];
    Py_ssize_t size;

    if (PyBytes_AsStringAndSize(data, &bytes, &size))
        return NULL;
    frame = (bytes_t)bytes;
    size -= CLIENT_HEAD;
    if (size < 0 || size > LONGEST_SMALL || frame[1] != (MASKED | size))
        Py_RETURN_NONE;
    if (frame[0] == PONG)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (frame[0] != TEXT || !size)
        Py_RETURN_NONE;
    mask = frame + 2;
    for (Py_ssize_t i = 0; i < size; i++)
        text[i] = frame[CLIENT_HEAD + i] ^ mask[i & 3];
    if (!is_utf8((struct span){text, text + size}))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((char *)text, size);
}

/* ---- The module ------------------------------------------------------------------------------------------- */

extern PyObject *flush(PyObject *module, PyObject *batches); /* _flush.c */
extern int prepare_flush(void);

static PyMethodDef functions[] = {
    {"encode_push", encode_push, METH_O, NULL},
    {"flush", flush, METH_O, NULL},
    {"read_calls", (PyCFunction)(void (*)(void))read_calls, METH_FASTCALL, NULL},
    {"read_small_frame", read_small_frame, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "rr_py_ws._speed", NULL, -1, functions,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__speed(void)
{
    make_forms();
    if (prepare_flush() || prepare_publications())
        return NULL;
    return PyModule_Create(&definition);
}
