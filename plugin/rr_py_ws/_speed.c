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

/* ---- Texts: see encode_string in wire/jsontext.py --------------------------------------------------------- */

static struct span span_of(PyObject *bytes)
{
    bytes_t at = (bytes_t)PyBytes_AsString(bytes);

    return (struct span){at, at + PyBytes_Size(bytes)};
}

static PyObject *make_bytes(struct span bytes)
{
    return PyBytes_FromStringAndSize((const char *)bytes.at, bytes.end - bytes.at);
}

static PyObject *decode(struct span text, const char *errors)
{
    return PyUnicode_DecodeUTF8((const char *)text.at, text.end - text.at, errors);
}

static int is_utf8(struct span text)
{
    PyObject *decoded = decode(text, NULL);

    PyErr_Clear();
    Py_XDECREF(decoded);
    return decoded != NULL;
}

static int is_ascii(struct span text)
{
    while (text.at < text.end)
        if (*text.at++ > 0x7F)
            return 0;
    return 1;
}

/* Encode a `str`. Bytes that were no UTF-8 are surrogates in it, which become three bytes each. */
static PyObject *encode(PyObject *text)
{
    return PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
}

/* Return some bytes as they are, or, when they are no UTF-8, as `encode` writes them. */
static PyObject *make_utf8(PyObject *bytes)
{
    PyObject *text, *encoded;

    if (!PyBytes_Check(bytes))
        return PyErr_Format(PyExc_TypeError, "a payload is bytes");
    if (is_utf8(span_of(bytes)))
        return Py_NewRef(bytes);
    text = decode(span_of(bytes), "surrogateescape");
    encoded = text ? encode(text) : NULL;
    Py_XDECREF(text);
    return encoded;
}

/* ---- JSON strings, as Go writes them: see wire/jsontext.py ------------------------------------------------ */

/* Sixteen bytes at a time: gcc and clang make vector instructions of these for every processor. */
typedef unsigned char block_t __attribute__((vector_size(16)));
#define BLOCK ((Py_ssize_t)sizeof(block_t))

/* What a byte becomes, or a character: one, two or six bytes. */
struct form {
    unsigned char size, text[7];
};
static struct form forms[256];
static const struct form separators[] = {{6, "\\u2028"}, {6, "\\u2029"}}, replacement = {6, "\\ufffd"};

static void make_forms(void)
{
    for (int byte = 0; byte < 256; byte++)
        forms[byte].size = (unsigned char)snprintf((char *)forms[byte].text, sizeof forms->text,
                                                   byte < 0x20 || strchr("<>&", byte) ? "\\u%04x" : "%c", byte);
    for (const char *pair = "\"\"\\\\\nn\rr\tt"; *pair; pair += 2)
        forms[(int)*pair] = (struct form){2, {'\\', (unsigned char)pair[1]}};
}

/* Whether any byte of a block may be written otherwise than it is. */
static inline int has_special(bytes_t at)
{
    block_t block, special;
    uint64_t halves[2];

    memcpy(&block, at, sizeof block);
    special = (block_t)((block < 0x20) | (block == '"') | (block == '\\') | (block == '<') | (block == '>')
                        | (block == '&') | (block == 0xE2) | (block == 0xED));
    memcpy(halves, &special, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

/* Find a character of three bytes that is escaped; NULL when another begins at `at`. */
static inline const struct form *find_escaped(bytes_t at)
{
    if (*at == 0xE2 && at[1] == 0x80 && (at[2] | 1) == 0xA9) /* U+2028 and U+2029 */
        return &separators[at[2] & 1];
    return *at == 0xED && at[1] >= 0xA0 ? &replacement : NULL; /* a surrogate */
}

static inline void write_form(unsigned char *out, const struct form *form)
{
    if (form->size == 1)
        *out = form->text[0];
    else if (form->size == 2)
        memcpy(out, form->text, 2);
    else
        memcpy(out, form->text, 6);
}

/* Write UTF-8 as a JSON string, without the quotes; return its size. Where `out` is NULL, it is only measured. */
static inline Py_ssize_t escape(struct span text, unsigned char *out)
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
            const struct form *form = *at < 0xE2 ? NULL : find_escaped(at);
            at += form ? 3 : 1;
            if (!form)
                form = &forms[at[-1]];
            if (out)
                write_form(out + size, form);
            size += form->size;
        }
    }
    return size;
}

/* Write what was measured; return what is behind it. An escape is longer than what it stands for. */
static unsigned char *write_escaped(unsigned char *out, struct span text, Py_ssize_t size)
{
    return size == text.end - text.at ? write_bytes(out, text.at, size) : out + escape(text, out);
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
    Py_ssize_t topic_size = escape(topic, NULL), payload_size = escape(payload, NULL);
    Py_ssize_t length = SIZE_OF(BEFORE_TOPIC BEFORE_PAYLOAD BEHIND) + topic_size + payload_size;
    PyObject *frame = PyBytes_FromStringAndSize(NULL, length + (length < 126 ? 2 : length < 65536 ? 4 : 10));

    if (frame) {
        unsigned char *out = write_frame_head((unsigned char *)PyBytes_AsString(frame), length);
        out = write_bytes(out, BEFORE_TOPIC, SIZE_OF(BEFORE_TOPIC));
        out = write_escaped(out, topic, topic_size);
        out = write_bytes(out, BEFORE_PAYLOAD, SIZE_OF(BEFORE_PAYLOAD));
        out = write_escaped(out, payload, payload_size);
        write_bytes(out, BEHIND, SIZE_OF(BEHIND));
    }
    return frame;
}

static PyObject *encode_push(PyObject *module, PyObject *publication)
{
    PyObject *topic, *payload, *frame;

    if (!PyTuple_Check(publication) || PyTuple_Size(publication) < 2)
        return PyErr_Format(PyExc_TypeError, "encode_push() takes a publication");
    topic = encode(PyTuple_GetItem(publication, 0));
    payload = topic ? make_utf8(PyTuple_GetItem(publication, 1)) : NULL;
    frame = payload ? make_push(span_of(topic), span_of(payload)) : NULL;
    Py_XDECREF(topic);
    Py_XDECREF(payload);
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
    if (behind && !is_ascii(command)) /* means nothing, but has to be a text */
        return 0;
    behind = read_field(behind ? behind : at, end, TOPICS, SHORT, &call->topic);
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
    ok->method = make_bytes(method);
    found = ok->method ? PyDict_GetItemWithError(oks, ok->method) : NULL;
    if (!found)
        return PyErr_Occurred() ? -1 : 0;
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
    PyObject *items[] = {decode(call->topic, NULL), make_bytes(call->payload), Py_NewRef(Py_None), Py_NewRef(zero),
                         Py_NewRef(empty)};

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
    struct span data;
    bytes_t at;
    Py_ssize_t start, left, units, price;
    uint64_t longest;
    struct call call;
    struct ok ok = {NULL, NULL, NULL, 0, 0};

    if (count != 7 || !PyBytes_Check(args[0]) || !PyDict_Check(args[2]))
        return PyErr_Format(PyExc_TypeError, "read_calls() takes bytes, a place, a dict and four numbers");
    data = span_of(args[0]);
    start = PyLong_AsSsize_t(args[1]);
    left = PyLong_AsSsize_t(args[3]);
    units = PyLong_AsSsize_t(args[4]);
    price = PyLong_AsSsize_t(args[5]);
    longest = PyLong_AsUnsignedLongLong(args[6]);
    calls = PyErr_Occurred() ? NULL : PyList_New(0);
    at = start < 0 || start > data.end - data.at ? data.end : data.at + start;
    while (calls && left-- > 0 && units > 0 && read_call(at, data.end, longest, &call)) {
        int found = find_ok(args[2], call.method, &ok);
        PyObject *made = found > 0 ? make_call(&call, &ok, data.at) : NULL;
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
    bytes_t frame, mask;
    unsigned char text[LONGEST_SMALL];
    Py_ssize_t size;

    if (!PyBytes_Check(data))
        return PyErr_Format(PyExc_TypeError, "read_small_frame() takes bytes");
    frame = span_of(data).at;
    size = PyBytes_Size(data) - CLIENT_HEAD;
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
    return make_bytes((struct span){text, text + size});
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
