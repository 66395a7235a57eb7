// SPDX-License-Identifier: Apache-2.0

// Package kernel says what the running kernel is: its symbols, its type
// information and the features, limits and permissions that decide what can be
// traced on it. It only reads; it changes no setting of the host.
package kernel
