// SPDX-License-Identifier: Apache-2.0

package metrics

// other stands for words that came when a vocabulary was full.
const other = "other"

// vocabulary is the values that a label has had: the first so many, and no more.
type vocabulary struct {
	words map[string]bool
	most  int
}

func newVocabulary(most int) *vocabulary {
	return &vocabulary{words: make(map[string]bool), most: most}
}

// has reports whether the word is one of the vocabulary, which it becomes if there is
// room.
func (v *vocabulary) has(word string) bool {
	if v.words[word] {
		return true
	}
	if len(v.words) >= v.most {
		return false
	}
	v.words[word] = true
	return true
}
