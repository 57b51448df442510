//go:build !purego

#include "textflag.h"

// func candidatesSSE2(buckets *bucket, n uint64, hashes *uint64, refs *Ref, flows *Flow, count int)
//
// One compare finds the tag (low byte of the hash, 0 counts as 1) among the 12
// of the bucket, which are its first bytes; the references begin at byte 16.
TEXT ·candidatesSSE2(SB), NOSPLIT, $0-48
	MOVQ buckets+0(FP), DI
	MOVQ n+8(FP), BX
	MOVQ hashes+16(FP), SI
	MOVQ refs+24(FP), R9
	MOVQ flows+32(FP), R10
	MOVQ count+40(FP), R11

loop:
	MOVQ (SI), AX
	MOVBLZX AX, DX
	CMPL DX, $1
	ADCL $0, DX
	SHRQ $32, AX
	IMULQ BX, AX
	SHRQ $32, AX
	SHLQ $6, AX
	MOVL DX, X0
	PUNPCKLBW X0, X0
	PSHUFLW $0, X0, X0
	PUNPCKLQDQ X0, X0
	MOVOU (DI)(AX*1), X1
	PCMPEQB X0, X1
	PMOVMSKB X1, DX
	ANDL $0xfff, DX
	JZ   none
	BSFL DX, CX
	LEAQ 16(DI)(AX*1), R8
	MOVL (R8)(CX*4), AX
	MOVL AX, (R9)
	SHRL $1, AX
	SHLQ $6, AX
	PREFETCHT0 (R10)(AX*1)
	LEAL -1(DX), CX
	ANDL CX, DX
	JNZ  second

next:
	ADDQ $8, SI
	ADDQ $4, R9
	DECQ R11
	JNZ  loop
	RET

none:
	MOVL $0, (R9)
	JMP  next

second:
	// Two tags fit, one of them by chance: ask for both records.
	BSFL DX, CX
	MOVL (R8)(CX*4), AX
	SHRL $1, AX
	SHLQ $6, AX
	PREFETCHT0 (R10)(AX*1)
	JMP  next
