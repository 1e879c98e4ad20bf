"""Reads and writes 3MF files with lib3mf (3MF Consortium), to check ours against another program.

    pip install lib3mf cryptography
    python3 scripts/lib3mf-interop.py read IN.3mf CONSUMER_ID PRIVATE.pem OUT.mrjob
    python3 scripts/lib3mf-interop.py write CONSUMER_ID KEY_ID PUBLIC.pem OUT.3mf sha1|sha256 none|deflate

lib3mf's Python binding declares its callbacks for encryption with too few parameters. Here they are as in its C header.
"""

import ctypes
import sys

import lib3mf
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

JOB = "urn:millrace:3mf:job-package:1"
PART = "/Millrace/package.mrjob"
BYTES = ctypes.POINTER(ctypes.c_uint8)
COUNT = ctypes.POINTER(ctypes.c_uint64)
CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, BYTES, ctypes.c_uint64, COUNT, BYTES, ctypes.c_void_p, COUNT
)
wrapper = lib3mf.get_wrapper() if hasattr(lib3mf, "get_wrapper") else lib3mf.Wrapper()


def register(name, *arguments):
    function = getattr(wrapper.lib, name)
    function.argtypes = [ctypes.c_void_p] + [ctypes.c_char_p] * (len(arguments) - 2) + [CALLBACK, ctypes.c_void_p]
    wrapper.checkError(None, function(*arguments, None))


def oaep(digest):
    return padding.OAEP(mgf=padding.MGF1(digest()), algorithm=digest(), label=None)


def answer(result, room, needed, out, status):
    """The first call asks for the size, the second one for the bytes."""
    if not out or room == 0:
        needed[0] = len(result)
    else:
        ctypes.memmove(out, result, len(result))
    status[0] = len(result)


def key_callback(work):
    @CALLBACK
    def call(_right, size, data, room, needed, out, _user, status):
        answer(work(bytes(data[:size])), room, needed, out, status)

    return call


def content_callback(sealing):
    streams = {}

    @CALLBACK
    def call(handle, size, data, room, needed, out, _user, status):
        wrapper.lib.lib3mf_acquire(ctypes.c_void_p(handle))
        parameters = lib3mf.ContentEncryptionParams(ctypes.c_void_p(handle), wrapper)
        name = parameters.GetDescriptor()
        if name not in streams:
            nonce = modes.GCM(bytes(parameters.GetInitializationVector()))
            cipher = Cipher(algorithms.AES(bytes(parameters.GetKey())), nonce)
            streams[name] = cipher.encryptor() if sealing else cipher.decryptor()
            streams[name].authenticate_additional_data(bytes(parameters.GetAdditionalAuthenticationData()))
        if not data or size == 0:
            stream = streams.pop(name)
            if sealing:
                stream.finalize()
                parameters.SetAuthenticationTag(list(stream.tag))
            else:
                stream.finalize_with_tag(bytes(parameters.GetAuthenticationTag()))
            status[0] = 16
        elif not out or room == 0:
            needed[0] = size
            status[0] = size
        else:
            answer(streams[name].update(bytes(data[:size])), room, needed, out, status)

    return call


def read(source, consumer, private, target):
    with open(private, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    model = wrapper.CreateModel()
    reader = model.QueryReader("3mf")
    reader.AddRelationToRead(JOB)

    def unwrap(wrapped):
        return key.decrypt(wrapped, oaep(hashes.SHA256))

    keys, content = key_callback(unwrap), content_callback(False)
    register("lib3mf_reader_addkeywrappingcallback", reader._handle, consumer.encode(), keys)
    register("lib3mf_reader_setcontentencryptioncallback", reader._handle, content)
    reader.ReadFromFile(source)
    for index in range(reader.GetWarningCount()):
        print("warning:", reader.GetWarning(index))
    store = model.GetKeyStore()
    print("consumers:", [store.GetConsumer(i).GetConsumerID() for i in range(store.GetConsumerCount())])
    attachment = model.FindAttachment(PART)
    with open(target, "wb") as file:
        file.write(bytes(attachment.WriteToBuffer()))
    print("read", attachment.GetStreamSize(), "bytes from", attachment.GetPath())


def write(consumer, key_id, public, target, digest, compression):
    """lib3mf encrypts parts with models only, so that this makes one with a tetrahedron."""
    with open(public, "r", encoding="ascii") as file:
        pem = file.read()
    key = serialization.load_pem_public_key(pem.encode())
    model = wrapper.CreateModel()
    mesh = model.AddMeshObject()
    corners = [(0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10)]
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    mesh.SetGeometry(
        [lib3mf.Position((ctypes.c_float * 3)(*corner)) for corner in corners],
        [lib3mf.Triangle((ctypes.c_uint32 * 3)(*face)) for face in faces],
    )
    model.AddBuildItem(mesh, wrapper.GetIdentityTransform())
    part = model.FindOrCreatePackagePart("/3D/encrypted.model")
    mesh.SetPackagePart(part)
    store = model.GetKeyStore()
    recipient = store.AddConsumer(consumer, key_id, pem)
    group = store.AddResourceDataGroup()
    sha256 = digest == "sha256"
    group.AddAccessRight(
        recipient,
        lib3mf.WrappingAlgorithm.RSA_OAEP,
        lib3mf.MgfAlgorithm.MGF1_SHA256 if sha256 else lib3mf.MgfAlgorithm.MGF1_SHA1,
        lib3mf.DigestMethod.SHA256 if sha256 else lib3mf.DigestMethod.SHA1,
    )
    packed = lib3mf.Compression.Deflate if compression == "deflate" else lib3mf.Compression.NoCompression
    store.AddResourceData(group, part, lib3mf.EncryptionAlgorithm.AES256_GCM, packed, list(b"written by lib3mf"))
    writer = model.QueryWriter("3mf")

    def wrap(plain):
        return key.encrypt(plain, oaep(hashes.SHA256 if sha256 else hashes.SHA1))

    keys, content = key_callback(wrap), content_callback(True)
    register("lib3mf_writer_addkeywrappingcallback", writer._handle, consumer.encode(), keys)
    register("lib3mf_writer_setcontentencryptioncallback", writer._handle, content)
    writer.WriteToFile(target)
    print("wrote", target)


{"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
