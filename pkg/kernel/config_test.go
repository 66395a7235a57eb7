// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	text := "#\n# Linux/x86 6.12\n#\nCONFIG_NET_NS=y\nCONFIG_NET_NSX=y\n# CONFIG_XFRM is not set\nCONFIG_CC_VERSION_TEXT=\"gcc 12\"\nCONFIG_VETH=m\n"
	got := parseConfig(strings.NewReader(text), []string{"CONFIG_NET_NS", "CONFIG_XFRM", "CONFIG_CC_VERSION_TEXT", "CONFIG_VETH"})
	want := map[string]string{"CONFIG_NET_NS": "y", "CONFIG_CC_VERSION_TEXT": "gcc 12", "CONFIG_VETH": "m"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
