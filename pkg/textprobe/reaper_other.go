// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package textprobe

// reaperProgram: only x86-64 has one, as only its text is understood (pkg/refsite).
const reaperProgram = ""
