/* Writing frames to many sockets: the twin of core/flush.py.
 *
 * Nothing is kept but the names of attributes. The GIL is held: the sockets do not block, and to give it up and take
 * it again for each write was a tenth of the time.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <sys/socket.h>

static PyObject *descriptor_name, *send_name;

/* Send to one subscriber; return how many bytes were taken, or -1 and an exception when it is no subscriber. */
static Py_ssize_t send_to(PyObject *subscriber, PyObject *frames, const char *bytes, Py_ssize_t size)
{
    PyObject *descriptor = PyObject_GetAttr(subscriber, descriptor_name), *result;
    long number = descriptor ? PyLong_AsLong(descriptor) : -1;
    Py_ssize_t taken;

    Py_XDECREF(descriptor);
    if (PyErr_Occurred())
        return -1;
    if (number >= 0) {
        taken = send((int)number, bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        return taken < 0 ? 0 : taken;
    }
    result = PyObject_CallMethodObjArgs(subscriber, send_name, frames, NULL);
    taken = result ? PyLong_AsSsize_t(result) : 0;
    Py_XDECREF(result);
    PyErr_Clear(); /* of what has failed nothing was taken */
    return taken < 0 ? 0 : taken;
}

/* Send frames to subscribers; add those who have not taken all to `behind`. Return -1 and an exception on failure. */
static int send_to_all(PyObject *subscribers, PyObject *frames, Py_ssize_t place, PyObject *behind)
{
    PyObject *iterator, *subscriber;
    char *bytes;
    Py_ssize_t size;

    if (PyBytes_AsStringAndSize(frames, &bytes, &size) || !(iterator = PyObject_GetIter(subscribers)))
        return -1;
    while ((subscriber = PyIter_Next(iterator))) {
        Py_ssize_t taken = send_to(subscriber, frames, bytes, size);
        int failed = taken < 0;
        if (!failed && taken != size) {
            PyObject *item = Py_BuildValue("(Onn)", subscriber, place, taken);
            failed = !item || PyList_Append(behind, item);
            Py_XDECREF(item);
        }
        Py_DECREF(subscriber);
        if (failed)
            break;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

PyObject *flush(PyObject *module, PyObject *batches)
{
    Py_ssize_t count = PySequence_Size(batches);
    PyObject *behind = count < 0 ? NULL : PyList_New(0);

    for (Py_ssize_t at = 0; behind && at < count; at++) {
        PyObject *batch = PySequence_GetItem(batches, at), *subscribers, *topics, *frames;
        if (batch && !PyTuple_Check(batch))
            PyErr_SetString(PyExc_TypeError, "a batch is a tuple");
        if (PyErr_Occurred() || !PyArg_ParseTuple(batch, "OOO", &subscribers, &topics, &frames)
            || send_to_all(subscribers, frames, at, behind))
            Py_CLEAR(behind);
        Py_XDECREF(batch);
    }
    return behind;
}

int prepare_flush(void)
{
    descriptor_name = PyUnicode_InternFromString("descriptor");
    send_name = PyUnicode_InternFromString("send");
    return descriptor_name && send_name ? 0 : -1;
}
