// libcuda.so.1, the driver: what device.py and Jittor ask it
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int* v) {
  *v = 13000;
  return 0;
}
int cuDeviceGetCount(int* n) {
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  *n = !visible || !strcmp(visible, "0");
  return 0;
}
int cuDeviceGet(int* d, int i) {
  *d = i;
  return 0;
}
int cuDeviceGetName(char* name, int size, int d) {
  strncpy(name, "Emulated sm_90", size);
  return 0;
}
int cuDeviceGetAttribute(int* v, int attribute, int d) {
  *v = attribute == 75 ? 9 : 0;
  return 0;
}
