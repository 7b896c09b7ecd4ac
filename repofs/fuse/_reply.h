/* An answer to the kernel. */
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Whether *answer* arrived: who asked may have gone. */
static inline bool reply(int device, uint64_t unique, const void *answer, size_t size)
{
    const struct fuse_out_header head = {.len = (uint32_t)(sizeof head + size), .unique = unique};
    const struct iovec parts[] = {{(void *)&head, sizeof head}, {(void *)answer, size}};
    return writev(device, parts, size ? 2 : 1) >= 0;
}

static inline void reply_error(int device, uint64_t unique, int error)
{
    const struct fuse_out_header head = {.len = sizeof head, .error = -error, .unique = unique};
    const struct iovec whole = {(void *)&head, sizeof head};
    (void)!writev(device, &whole, 1);    /* who asked may have gone */
}
