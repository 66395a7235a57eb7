// SPDX-License-Identifier: Apache-2.0

// Package holders finds what points at a network device, by looking through the
// kernel's memory: nothing need have been traced before. What is found is typed by the
// kernel's own type information, compared with the device's reference count, and
// followed to a process, a route or a device. See docs/holders.md.
//
// The package makes records; package refs words them.
package holders
