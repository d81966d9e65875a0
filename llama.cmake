# Read while llama-cpp-python is configured (CMAKE_PROJECT_INCLUDE): leaves out the helpers of llama.cpp's own programs,
# which are almost half of the compile and which nothing here calls. llama-cpp-python asks for them by a cache variable,
# and this one goes before it.
set(LLAMA_BUILD_COMMON OFF)
