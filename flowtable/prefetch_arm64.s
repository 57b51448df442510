//go:build !purego

#include "textflag.h"

// func prefetchBuckets(buckets *bucket, n uint64, hashes *uint64, count int)
TEXT ·prefetchBuckets(SB), NOSPLIT, $0-32
	MOVD buckets+0(FP), R0
	MOVD n+8(FP), R1
	MOVD hashes+16(FP), R2
	MOVD count+24(FP), R3
	CMP  $0, R3
	BLE  done

loop:
	MOVD.P 8(R2), R4
	LSR  $32, R4, R4
	MUL  R1, R4, R4
	LSR  $32, R4, R4
	ADD  R4<<6, R0, R5
	PRFM (R5), PLDL1KEEP
	SUBS $1, R3, R3
	BNE  loop

done:
	RET

// func prefetchFlows(flows *Flow, refs *Ref, count int)
TEXT ·prefetchFlows(SB), NOSPLIT, $0-24
	MOVD flows+0(FP), R0
	MOVD refs+8(FP), R2
	MOVD count+16(FP), R3
	CMP  $0, R3
	BLE  done

loop:
	MOVWU.P 4(R2), R4
	LSR  $1, R4, R4
	ADD  R4<<6, R0, R5
	PRFM (R5), PLDL1KEEP
	SUBS $1, R3, R3
	BNE  loop

done:
	RET

// func prefetchWindows(windows *window, refs *Ref, segments uint64, from, to int)
//
// A window has 48 bytes: half of them lie on two lines.
TEXT ·prefetchWindows(SB), NOSPLIT, $0-40
	MOVD windows+0(FP), R0
	MOVD refs+8(FP), R2
	MOVD segments+16(FP), R1
	MOVD from+24(FP), R3
	MOVD to+32(FP), R7

loop:
	CMP  R7, R3
	BGE  done
	LSR  R3, R1, R5
	TBZ  $0, R5, next
	MOVWU (R2)(R3<<2), R4
	LSR  $1, R4, R4
	ADD  R4<<1, R4, R4
	ADD  R4<<4, R0, R5
	PRFM (R5), PLDL1KEEP
	PRFM 47(R5), PLDL1KEEP

next:
	ADD  $1, R3, R3
	B    loop

done:
	RET
