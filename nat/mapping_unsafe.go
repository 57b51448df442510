package nat

import "unsafe"

// What memory: none; this file only states the size of mapping records.
// Why unsafe: Sizeof is the compiler's own word on the layout that mapping.go
// draws, checked in both directions when the package is built.
const (
	mappingBytes     = 24
	wideMappingBytes = 32

	_ = uint(mappingBytes-unsafe.Sizeof(mapping{})) + uint(unsafe.Sizeof(mapping{})-mappingBytes)
	_ = uint(wideMappingBytes-unsafe.Sizeof(wideMapping{})) + uint(unsafe.Sizeof(wideMapping{})-wideMappingBytes)
)
