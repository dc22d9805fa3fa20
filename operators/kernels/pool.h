// Threads that share out a loop. The caller takes part, and waits for the shares that others have
// taken, never for a thread that comes late: beside other programs one of ours may have to wait for
// a core for milliseconds. Results do not depend on who takes what, nor on how many there are up to
// four: what is added up is cut into parts by its size.

#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

namespace kernels {

typedef int64_t I;
typedef std::unique_ptr<float[]> Scratch;

inline Scratch scratch(I size) { return Scratch(new float[size]); }

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  // The one of this process. Never destroyed: its threads run until the process ends.
  static Pool& get() {
    static Pool* pool = new Pool;
    return *pool;
  }

  // How many threads take part, the caller being one.
  void resize(int threads) { wanted = threads; }

  int threads() const { return wanted; }

  // f(i) for i from 0 to count - 1.
  template <class F>
  void share(I count, const F& f) {
    Job job([](const void* f, I i) { (*(const F*)f)(i); }, &f, count);
    if (wanted < 2 || count < 2) return job.work();
    for (; started < wanted; started++) std::thread(&Pool::help, this, started).detach();
    current = &job;
    posted++;
    if (sleeping) {
      std::lock_guard<std::mutex> lock(mutex);
      wake.notify_all();
    }
    job.work();
    current = nullptr;
    for (int i = 0; busy; i++) i < 1000 ? pause() : std::this_thread::yield();
  }

 private:
  struct Job {
    void (*call)(const void*, I);
    const void* f;
    const I count;
    std::atomic<I> next{0};

    Job(void (*call)(const void*, I), const void* f, I count) : call(call), f(f), count(count) {}

    void work() {
      for (I i; (i = next++) < count;) call(f, i);
    }
  };

  // What one of the threads does; the first is number 1.
  void help(int number) {
    omp_set_num_threads(1);  // oneDNN is not to start threads of its own here
    for (unsigned seen = 0;;) {
      wait(seen);
      seen = posted;
      busy++;  // before it looks: a job that it finds lives until it is done
      Job* job = current;
      if (job && number < wanted) job->work();
      busy--;
    }
  }

  // Until another job than the one seen is posted: at first awake, for the next one often comes at
  // once, and waking takes longer than most jobs.
  void wait(unsigned seen) {
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::microseconds(PATIENCE))
      for (int i = 0; i < 16; i++) {
        if (posted != seen) return;
        pause();
      }
    std::unique_lock<std::mutex> lock(mutex);
    sleeping++;
    wake.wait(lock, [&] { return posted != seen; });
    sleeping--;
  }

  static const int PATIENCE = 100;  // microseconds

  std::atomic<int> wanted{1};
  int started = 1;
  std::atomic<Job*> current{nullptr};
  std::atomic<unsigned> posted{0};
  std::atomic<int> busy{0}, sleeping{0};
  std::mutex mutex;
  std::condition_variable wake;
};

inline I threads() { return Pool::get().threads(); }

// f(begin, end) for parts of 0..n of `size` each
template <class F>
inline void share(I n, I size, const F& f) {
  Pool::get().share((n + size - 1) / size,
      [&](I i) { f(i * size, std::min(n, (i + 1) * size)); });
}

// The same, by this thread alone if `alone`: then it is itself one of several at work.
template <class F>
inline void share_unless(bool alone, I n, I size, const F& f) {
  if (alone) {
    f(0, n);
  } else {
    share(n, size, f);
  }
}

// f(begin, end) for parts of 0..n, shared out or one after the other
template <class F>
inline void share_if(bool shared, I n, I size, const F& f) {
  if (shared) {
    share(n, size, f);
  } else {
    for (I i = 0; i < n; i += size) f(i, std::min(n, i + size));
  }
}

// While one of these lives, oneDNN starts no threads: the caller is one of ours.
class Alone {
 public:
  Alone() : before(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~Alone() { omp_set_num_threads(before); }

 private:
  const int before;
};

}  // namespace kernels
