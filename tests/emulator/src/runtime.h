// What the parts of libcudart, and the other libraries of the emulator, offer one another.
#pragma once
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>

#include <driver_types.h>

[[noreturn]] void emu_fail(const char* format, ...);
void emu_count(const std::string& what);  // for EMU_STATS
bool emu_set(const char* variable);       // whether it is in the environment, and not 0
extern cudaError_t emu_error;  // the last, for cudaGetLastError
std::recursive_mutex& emu_lock();         // of all that follows

// The device's work, in the order of its submission. With EMU_ASYNC=1 it waits until something
// waits for it.
void emu_enqueue(std::function<void()> work);
void emu_enqueue_host(std::function<void()> work);  // a callback: device memory stays out of reach
void emu_wait();

bool emu_on_device(const void* p);
size_t emu_room(const void* p);  // bytes from there to the end of its allocation, 0 outside
void emu_need(const char* who, const char* what, const void* p, size_t bytes);
void emu_reach(bool possible);  // device memory, from the host, with EMU_PROTECT=1
