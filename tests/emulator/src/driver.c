// libcuda.so.1, the driver: what device.py and Jittor ask it
//
//   EMU_CAPABILITY=12.0  of the GPU; 9.0 where nothing is said
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int* v) {
  *v = VERSION;
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
  strncpy(name, "Emulated GPU", size);
  return 0;
}
int cuDeviceGetAttribute(int* v, int attribute, int d) {
  int capability[2] = {9, 0};
  const char* given = getenv("EMU_CAPABILITY");
  if (given) sscanf(given, "%d.%d", &capability[0], &capability[1]);
  *v = attribute == 75 || attribute == 76 ? capability[attribute - 75] : 0;
  return 0;
}
