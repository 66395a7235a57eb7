// SPDX-License-Identifier: Apache-2.0

// Package deploy has what is needed to run netns-trace on many machines: a systemd
// unit, a Kubernetes DaemonSet, alerts, a dashboard, packages, a container image.
// There is no program in it. See docs/monitor.md.
package deploy
