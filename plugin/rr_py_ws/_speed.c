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
#include <string.h>

typedef const unsigned char *bytes_t;

/* ---- UTF-8 ------------------------------------------------------------------------------------------------ */

/* The length of the character that begins at `at`, or 0 when no valid one does (RFC 3629; as Python decodes). */
static int utf8_length(bytes_t at, bytes_t end)
{
    unsigned char lead = at[0];
    Py_ssize_t left = end - at;
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte: no overlong form, no surrogate */
    int length;

    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (left < length)
        return 0;
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    if (at[1] < low || at[1] > high)
        return 0;
    for (int i = 2; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

static int is_utf8(bytes_t at, bytes_t end)
{
    while (at < end) {
        int length = utf8_length(at, end);
        if (!length)
            return 0;
        at += length;
    }
    return 1;
}

/* ---- JSON strings, as Go writes them: see wire/jsontext.py ------------------------------------------------ */

/* Sixteen bytes at a time: gcc and clang make vector instructions of these for every processor. */
typedef unsigned char block_t __attribute__((vector_size(16)));

static unsigned char escaped_sizes[128]; /* of each ASCII character; 1 for those that are written as they are */

static void make_escaped_sizes(void)
{
    for (int byte = 0; byte < 128; byte++)
        escaped_sizes[byte] = byte < 0x20 || strchr("<>&", byte) ? 6 : strchr("\"\\", byte) ? 2 : 1;
    for (const char *byte = "\n\r\t"; *byte; byte++)
        escaped_sizes[(int)*byte] = 2;
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

/* Whether the three bytes of an encoded surrogate begin at `at`. Texts have them where bytes were no UTF-8. */
static int is_surrogate(bytes_t at, bytes_t end)
{
    return end - at >= 3 && at[0] == 0xED && (at[1] & 0xE0) == 0xA0 && (at[2] & 0xC0) == 0x80;
}

/* Find out about the character at `at`, which is not ASCII: how many bytes it has, and the escape that stands for it,
 * if one does. In a `text` a surrogate is one character; in bytes it is three that are no UTF-8. */
static int read_character(bytes_t at, bytes_t end, int text, const char **escape)
{
    int length;

    *escape = NULL;
    if (at[0] >= 0xC2 && at[0] < 0xE0 && end - at > 1 && (at[1] & 0xC0) == 0x80) /* most letters that are not ASCII */
        return 2;
    length = utf8_length(at, end);
    if (!length) {
        *escape = "\\ufffd";
        return text && is_surrogate(at, end) ? 3 : 1;
    }
    if (length == 3 && at[0] == 0xE2 && at[1] == 0x80 && (at[2] & 0xFE) == 0xA8)
        *escape = at[2] == 0xA8 ? "\\u2028" : "\\u2029";
    return length;
}

/* How many bytes a text has as a JSON string, without the quotes. */
static Py_ssize_t escaped_size(bytes_t at, bytes_t end, int text)
{
    Py_ssize_t size = 0;
    const char *escape;

    while (at < end) {
        if (end - at >= (Py_ssize_t)sizeof(block_t) && !has_special(at)) {
            at += sizeof(block_t);
            size += sizeof(block_t);
            continue;
        }
        for (int i = 0; i < (int)sizeof(block_t) && at < end; i++) {
            if (*at < 0x80) {
                size += escaped_sizes[*at++];
            } else {
                int length = read_character(at, end, text, &escape);
                at += length;
                size += escape ? 6 : length;
            }
        }
    }
    return size;
}

/* Write an ASCII character that is escaped; return what is behind it. */
static unsigned char *write_escape(unsigned char byte, unsigned char *out)
{
    static const char hex[] = "0123456789abcdef";

    *out++ = '\\';
    if (escaped_sizes[byte] == 2) {
        *out++ = byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte == '\t' ? 't' : byte;
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = hex[byte >> 4];
    out[4] = hex[byte & 15];
    return out + 5;
}

/* Write what `escaped_size` has measured to `out`; return what is behind it. */
static unsigned char *write_escaped(bytes_t at, bytes_t end, int text, unsigned char *out)
{
    const char *escape;

    while (at < end) {
        if (end - at >= (Py_ssize_t)sizeof(block_t) && !has_special(at)) {
            memcpy(out, at, sizeof(block_t));
            at += sizeof(block_t);
            out += sizeof(block_t);
            continue;
        }
        for (int i = 0; i < (int)sizeof(block_t) && at < end; i++) {
            if (*at < 0x80) {
                if (escaped_sizes[*at] == 1)
                    *out++ = *at++;
                else
                    out = write_escape(*at++, out);
            } else {
                int length = read_character(at, end, text, &escape);
                memcpy(out, escape ? (bytes_t)escape : at, escape ? 6 : length);
                out += escape ? 6 : length;
                at += length;
            }
        }
    }
    return out;
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

static unsigned char *write_text(unsigned char *out, const char *text, Py_ssize_t size)
{
    memcpy(out, text, size);
    return out + size;
}

static PyObject *encode_push(PyObject *module, PyObject *publication)
{
    PyObject *topic, *encoded = NULL, *frame;
    const char *text;
    char *payload;
    bytes_t name, name_end, data, data_end;
    Py_ssize_t size, payload_size, length;

    if (!PyTuple_Check(publication) || PyTuple_Size(publication) < 2)
        return PyErr_Format(PyExc_TypeError, "encode_push() takes a publication");
    topic = PyTuple_GetItem(publication, 0);
    if (PyBytes_AsStringAndSize(PyTuple_GetItem(publication, 1), &payload, &payload_size))
        return NULL;
    text = PyUnicode_AsUTF8AndSize(topic, &size); /* without a copy, where it is ASCII */
    if (!text) {
        PyErr_Clear();
        encoded = PyUnicode_AsEncodedString(topic, "utf-8", "surrogatepass");
        if (!encoded)
            return NULL;
        text = PyBytes_AsString(encoded);
        size = PyBytes_Size(encoded);
    }
    name = (bytes_t)text;
    name_end = name + size;
    data = (bytes_t)payload;
    data_end = data + payload_size;
    length = SIZE_OF(BEFORE_TOPIC) + escaped_size(name, name_end, 1) + SIZE_OF(BEFORE_PAYLOAD)
             + escaped_size(data, data_end, 0) + SIZE_OF(BEHIND);
    frame = PyBytes_FromStringAndSize(NULL, length + (length < 126 ? 2 : length < 65536 ? 4 : 10));
    if (frame) {
        unsigned char *out = write_frame_head((unsigned char *)PyBytes_AsString(frame), length);
        out = write_text(out, BEFORE_TOPIC, SIZE_OF(BEFORE_TOPIC));
        out = write_escaped(name, name_end, 1, out);
        out = write_text(out, BEFORE_PAYLOAD, SIZE_OF(BEFORE_PAYLOAD));
        out = write_escaped(data, data_end, 0, out);
        write_text(out, BEHIND, SIZE_OF(BEHIND));
    }
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
#define LONGEST_VARINT 5
#define METHODS 2

static const char *const method_names[METHODS] = {"broadcast.Publish", "broadcast.PublishAsync"};
static PyObject *methods[METHODS]; /* the same as bytes */
static PyObject *publication_type, *zero, *empty;
static allocfunc allocate_publication;
static uint32_t crc_table[256];

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xEDB88320u : value >> 1;
        crc_table[i] = value;
    }
}

static uint32_t crc32_of(bytes_t at, int size)
{
    uint32_t value = 0xFFFFFFFFu;
    while (size--)
        value = crc_table[(value ^ *at++) & 0xFF] ^ value >> 8;
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

/* Read a number of at most five bytes, which must be before `end`; return what is behind it, or NULL. */
static bytes_t read_varint(bytes_t at, bytes_t end, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < LONGEST_VARINT && at < end; i++, at++) {
        *value |= (uint64_t)(*at & 0x7F) << 7 * i;
        if (*at < 0x80)
            return at + 1;
    }
    return NULL;
}

/* Where the parts of a call are. */
struct call {
    int method;
    bytes_t sequence, topic, topic_end, payload, end;
};

/* Read the call at `at`, if it is one of those that are read here and is all there. */
static int read_call(bytes_t at, bytes_t data_end, uint64_t longest, struct call *call)
{
    uint64_t size, name_size;
    bytes_t body, end;

    if (data_end - at <= HEADER_SIZE || read_u16(at) != FIRST)
        return 0;
    size = read_u32(at + 2);
    name_size = read_u32(at + 16);
    if (size > longest || size > (uint64_t)(data_end - at - HEADER_SIZE) || name_size > size
        || read_u32(at + 6) != crc32_of(at, 6))
        return 0;
    body = at + HEADER_SIZE + name_size;
    call->sequence = at + 12;
    call->end = end = at + HEADER_SIZE + size;
    for (call->method = 0; call->method < METHODS; call->method++)
        if (strlen(method_names[call->method]) == name_size
            && !memcmp(method_names[call->method], at + HEADER_SIZE, name_size))
            break;
    if (call->method == METHODS)
        return 0;

    /* The only message, up to the end. */
    if (end - body < 2 || *body != MESSAGE || !(body = read_varint(body + 1, end, &size))
        || size != (uint64_t)(end - body))
        return 0;
    if (end - body >= 2 && *body == COMMAND) { /* means nothing, but has to be a text */
        bytes_t command_end = body + 2 + body[1];
        if (body[1] > 0x7F || command_end > end)
            return 0;
        for (; body < command_end; body++)
            if (*body > 0x7F)
                return 0;
    }
    if (end - body < 2 || *body != TOPICS || body[1] == 0 || body[1] > 0x7F || end - body - 2 < body[1])
        return 0;
    call->topic = body + 2;
    call->topic_end = body = call->topic + body[1];
    if (end - body < 2 || *body != PAYLOAD || !(body = read_varint(body + 1, end, &size))
        || size != (uint64_t)(end - body))
        return 0;
    call->payload = body;
    return is_utf8(call->topic, call->topic_end);
}

/* What stands before and behind the sequence number of the reply to a method; NULL: not looked up yet. */
struct ok {
    char *before, *behind;
    Py_ssize_t before_size, behind_size;
};

/* Look up the reply to a method. Return 0 when the method is not read, -1 and an exception when there is no reply. */
static int find_ok(PyObject *oks, int method, struct ok *ok)
{
    PyObject *found;

    if (ok->before)
        return 1;
    found = PyDict_GetItemWithError(oks, methods[method]);
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
        unsigned char *out = write_text((unsigned char *)PyBytes_AsString(reply), ok->before, ok->before_size);
        out = write_text(out, (const char *)call->sequence, 4);
        write_text(out, ok->behind, ok->behind_size);
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
    PyObject *items[] = {PyUnicode_DecodeUTF8((const char *)call->topic, call->topic_end - call->topic, NULL),
                         PyBytes_FromStringAndSize((const char *)call->payload, call->end - call->payload),
                         Py_NewRef(Py_None), Py_NewRef(zero), Py_NewRef(empty)};

    return fill(allocate_publication((PyTypeObject *)publication_type, 5), items, 5);
}

/* Make of a call what Python gets. */
static PyObject *make_call(const struct call *call, const struct ok *ok, bytes_t data)
{
    PyObject *items[] = {Py_NewRef(methods[call->method]), make_reply(call, ok), make_publication(call),
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
    struct ok oks[METHODS] = {{NULL, NULL, 0, 0}, {NULL, NULL, 0, 0}};

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
        int found = find_ok(args[2], call.method, &oks[call.method]);
        PyObject *made = found > 0 ? make_call(&call, &oks[call.method], data) : NULL;
        if (found == 0)
            break;
        if (!made || PyList_Append(calls, made)) {
            Py_XDECREF(made);
            Py_DECREF(calls);
            return NULL;
        }
        Py_DECREF(made);
        units -= call.end - at + price;
        at = call.end;
    }
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
    if (!is_utf8(text, text + size))
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
    make_escaped_sizes();
    make_crc_table();
    if (prepare_flush() || prepare_publications())
        return NULL;
    for (int i = 0; i < METHODS; i++)
        if (!methods[i] && !(methods[i] = PyBytes_FromString(method_names[i])))
            return NULL;
    return PyModule_Create(&definition);
}
