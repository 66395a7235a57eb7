// SPDX-License-Identifier: Apache-2.0

package refs

import "github.com/netns-trace/netns-trace/pkg/record"

// FamilyName is what findings call a family of holders.
func FamilyName(f record.HolderFamily) string { return familyOf(f).name }
