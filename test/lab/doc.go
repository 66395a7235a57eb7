// SPDX-License-Identifier: Apache-2.0

// Package lab boots Debian's own kernels in QEMU and runs commands in them.
//
// A test asks for a kernel with [FetchKernel], boots it with [Boot] and runs
// programs in the guest with [VM.Run]. Emulation is pure software (TCG), so the
// machine that runs the tests needs no virtualisation and no privileges, and its
// own kernel is never traced.
//
// Kernels, user-space tools and built programs are kept in a [Cache]. Everything
// in it is fetched or built again when missing; once it is filled, the lab needs
// no network.
package lab
