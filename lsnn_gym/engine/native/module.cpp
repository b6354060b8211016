// An empty Python module, so that the kernels are built, installed and found like any extension.
#include <Python.h>

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }
