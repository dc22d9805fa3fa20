#pragma once
namespace thrust {
template <class T>
struct counting_iterator {
  T first;
  explicit counting_iterator(T first) : first(first) {}
  T operator[](long long i) const { return first + i; }
};
}  // namespace thrust
