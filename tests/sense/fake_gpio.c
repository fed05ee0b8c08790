/* A GPIO chip for libgpiod, at the system calls: LD_PRELOAD this, and a link to /dev/null is a chip of four lines.

   FAKE_LEVEL    a file whose first byte, '0' or '1', is the voltage of every line
   FAKE_EVENTS   a FIFO of struct gpio_v2_line_event, as the kernel would write them
   FAKE_ASKED    where it is written down what a line was asked to be: flags, debounce in us, offset */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __u64 flags;

char *realpath(const char *path, char *resolved)
{
	char *(*real)(const char *, char *) = dlsym(RTLD_NEXT, "realpath");

	if (strcmp(path, "/sys/dev/char/1:3/subsystem"))
		return real(path, resolved);
	return resolved ? strcpy(resolved, "/sys/bus/gpio") : strdup("/sys/bus/gpio");
}

static int request(struct gpio_v2_line_request *wanted)
{
	FILE *asked = fopen(getenv("FAKE_ASKED"), "w");
	__u32 debounce_us = 0;

	for (unsigned i = 0; i < wanted->config.num_attrs; i++) {
		struct gpio_v2_line_attribute *one = &wanted->config.attrs[i].attr;

		if (one->id == GPIO_V2_LINE_ATTR_ID_DEBOUNCE)
			debounce_us = one->debounce_period_us;
		if (one->id == GPIO_V2_LINE_ATTR_ID_FLAGS)
			wanted->config.flags = one->flags;
	}
	flags = wanted->config.flags;
	fprintf(asked, "%llu %u %u\n", (unsigned long long)flags, debounce_us, wanted->offsets[0]);
	fclose(asked);
	wanted->fd = open(getenv("FAKE_EVENTS"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return wanted->fd < 0 ? -1 : 0;
}

static int values(struct gpio_v2_line_values *wanted)
{
	int file = open(getenv("FAKE_LEVEL"), O_RDONLY | O_CLOEXEC);
	char level = '0';

	if (file < 0 || read(file, &level, 1) != 1) { /* the chip was pulled out */
		errno = ENODEV;
		return -1;
	}
	close(file);
	wanted->bits = (level == '1') != !!(flags & GPIO_V2_LINE_FLAG_ACTIVE_LOW) ? wanted->mask : 0;
	return 0;
}

int ioctl(int file, unsigned long what, ...)
{
	int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
	va_list more;
	void *argument;

	va_start(more, what);
	argument = va_arg(more, void *);
	va_end(more);
	what = (unsigned int)what; /* libgpiod keeps some in an int, which is negative then */
	if (what == GPIO_GET_CHIPINFO_IOCTL) {
		struct gpiochip_info about = {"gpiochip0", "fake", 4};

		memcpy(argument, &about, sizeof(about));
		return 0;
	}
	if (what == GPIO_V2_GET_LINEINFO_IOCTL) {
		struct gpio_v2_line_info *line = argument;

		if (line->offset >= 4) {
			errno = EINVAL;
			return -1;
		}
		snprintf(line->name, sizeof(line->name), "PQ.0%u", line->offset);
		return 0;
	}
	if (what == GPIO_V2_GET_LINE_IOCTL)
		return request(argument);
	if (what == GPIO_V2_LINE_GET_VALUES_IOCTL)
		return values(argument);
	return real(file, what, argument);
}
