// Package rosetta takes the place of github.com/tonistiigi/go-rosetta, which not every module proxy has. docker asks
// it whether Apple's translator of programs is at work; on Linux there is none.
package rosetta

import "runtime"

// Enabled says whether this program is being translated.
func Enabled() bool { return false }

// NativeArch is the architecture of the machine.
func NativeArch() string { return runtime.GOARCH }
