/* Linked into the tests of the sanitizer build. */
#include <dlfcn.h>
#include <stddef.h>

#include "engine/vulkan/vk.h"

/* The loader unloads a driver with its last instance, and what the driver holds in its globals then counts as leaked.
   Under the leak checker one instance therefore lives as long as the program, where that memory is still reachable;
   ours is checked as before. */
static VkInstance kept_instance;

__attribute__((constructor)) static void keep_driver(void)
{
    void *loader = dlopen("libvulkan.so.1", RTLD_NOW);
    PFN_vkCreateInstance create = NULL;
    if (loader)
        *(void **)&create = dlsym(loader,
                                  "vkCreateInstance"); /* POSIX's own way past the object-to-function pointer rule */
    const VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
    if (create && create(&info, NULL, &kept_instance) != VK_SUCCESS)
        kept_instance = NULL;
}
