package diff

import (
	"testing"
)

// TestScripts plays the scripts of testdata.
func TestScripts(t *testing.T) { play(t, readScripts(t)) }
