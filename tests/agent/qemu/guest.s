# A whole guest in one boot sector: up in half a second under TCG, and never the same twice.
#
# It prints a counter on the serial line, one line per BIOS tick (18.2 a second), so a test sees
# that a guest runs, pauses, and goes on where it was. It obeys one letter on the serial line
#     r reset    p power off    x panic (pvpanic at PCI slot 5)
#     d rewrite 16 MiB of memory at each tick from now on
# and the ACPI power button. Build:
#     as --32 guest.s -o guest.o
#     ld -m elf_i386 --oformat binary -Ttext 0x7c00 guest.o -o guest.bin
.code16
.globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ss
    movw $0x7c00, %sp
    movw %ax, %ds
    ljmp $0, $unreal
unreal:                             # flat 4 GiB data segment in %es
    lgdt gdtr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $8, %bx
    movw %bx, %es
    andb $0xfe, %al
    movl %eax, %cr0
    xorw %bx, %bx                   # base 0 stays when an interrupt handler saves and restores %es
    movw %bx, %es
    sti
    movw $0x602, %dx                # PM1_EN: power button
    movw $0x100, %ax
    outw %ax, %dx
    xorl %ebx, %ebx                 # the counter
    xorl %ebp, %ebp                 # dirty memory?
again:
    incl %ebx
    movl %ebx, %ecx
    movb $8, %ah
digit:
    roll $4, %ecx
    movb %cl, %al
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 1f
    addb $39, %al
1:  call put
    decb %ah
    jnz digit
    movb $10, %al
    call put
    testl %ebp, %ebp
    jz wait
    movl $0x1000000, %edi           # from 16 MiB to 32 MiB, one word per page
2:  movl %ebx, %es:(%edi)
    addl $4096, %edi
    cmpl $0x2000000, %edi
    jb 2b
wait:
    movl 0x46c, %ecx
poll:
    movw $0x600, %dx                # PM1_STS: power button
    inw %dx, %ax
    testb $1, %ah
    jnz poweroff
    movb $1, %ah                    # the BIOS reads the serial line into its keyboard buffer
    int $0x16
    jz 3f
    xorb %ah, %ah
    int $0x16
    cmpb $'r', %al
    je reset
    cmpb $'p', %al
    je poweroff
    cmpb $'x', %al
    je panic
    cmpb $'d', %al
    jne 3f
    incl %ebp
3:  hlt
    cmpl 0x46c, %ecx
    je poll
    jmp again
reset:
    movb $6, %al
    movw $0xcf9, %dx
    outb %al, %dx
    hlt
poweroff:
    movw $0x604, %dx
    movw $0x2000, %ax
    outw %ax, %dx
    hlt
panic:
    movl $0x80002810, %eax          # bus 0, slot 5, BAR 0
    movw $0xcf8, %dx
    outl %eax, %dx
    movw $0xcfc, %dx
    inl %dx, %eax
    andb $0xf0, %al
    movb $1, %es:(%eax)
    jmp again
put:
    pushw %ax
    movw $0x3fd, %dx
4:  inb %dx, %al
    testb $0x20, %al
    jz 4b
    popw %ax
    movw $0x3f8, %dx
    outb %al, %dx
    ret
.align 4
gdt:
    .quad 0
    .quad 0x00cf92000000ffff
gdtr:
    .word 15
    .long gdt
.org 510
    .word 0xaa55
