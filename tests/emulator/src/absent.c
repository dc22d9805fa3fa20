// Libraries that have to be there and of which nothing is called: a function that is ends the
// program with its name.
#include <stdio.h>
#include <stdlib.h>

#define ABSENT(name)                                        \
  void name() {                                             \
    fputs("EMULATOR: " #name " is not emulated\n", stderr); \
    abort();                                                \
  }

int cusparseCreate() { return 0; }
int cusparseDestroy() { return 0; }
ABSENT(cusparseCreateCsr)
ABSENT(cusparseCreateCoo)
ABSENT(cusparseCreateDnMat)
ABSENT(cusparseDestroySpMat)
ABSENT(cusparseDestroyDnMat)
ABSENT(cusparseSpMM)
ABSENT(cusparseSpMM_bufferSize)
ABSENT(cufftCreate)
ABSENT(cufftDestroy)
ABSENT(cufftPlanMany)
ABSENT(cufftSetStream)
ABSENT(cufftExecC2C)
ABSENT(cufftExecZ2Z)
ABSENT(cufftExecR2C)
ABSENT(cufftExecC2R)
ABSENT(cufftExecD2Z)
ABSENT(cufftExecZ2D)
ABSENT(cufftXtExec)
ABSENT(cufftXtMakePlanMany)
