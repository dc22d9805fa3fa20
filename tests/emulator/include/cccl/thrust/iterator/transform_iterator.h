#pragma once
namespace thrust {
template <class F, class I>
struct transform_iterator {
  I i;
  F f;
  transform_iterator(I i, F f) : i(i), f(f) {}
  auto operator[](long long n) const -> decltype(f(i[n])) { return f(i[n]); }
};
}  // namespace thrust
